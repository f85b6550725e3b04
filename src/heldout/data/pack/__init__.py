"""A checked dataset and its prepared arrays in one file, to train on a machine that has no raw data.

The file is a ZIP archive. It holds the tables, the images as training reads them, compressed without loss, and the true
masks of the training part on the grids of their own files. Masks on the prepared grid are made again from those.
Images, masks and hashes come out bit by bit as they went in, so that runs trained there are accepted here.
"""
