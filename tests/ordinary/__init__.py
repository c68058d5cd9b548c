"""Ordinary programs: does each view name the line that a person would name?"""
