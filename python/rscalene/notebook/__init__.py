"""The magics of IPython and Jupyter, which ``%load_ext rscalene`` registers.

``magics`` reads the options and runs cells, ``measured`` has the ways to measure, ``cells`` names code without a file.
"""
