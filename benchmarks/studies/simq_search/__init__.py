"""Comparison of joint searches of architecture and precision on fully tabulated spaces."""
