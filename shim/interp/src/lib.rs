//! CPython as seen from outside: layouts, frame walk, line tables.

#![no_std]
