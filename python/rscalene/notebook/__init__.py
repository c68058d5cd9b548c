"""The magics of IPython and Jupyter, which ``%load_ext rscalene`` registers.

``magics`` reads the options and runs cells, ``measured`` is what they measure with, ``cells`` names the code that lies
in no file.
"""
