"""Runs a notebook from top to bottom, in its folder; fails with the cell that does.

run_notebook.py NOTEBOOK [--save]      --save: writes what the cells show into the notebook
"""

import sys
from pathlib import Path

import nbclient
import nbformat

path = Path(sys.argv[1])
notebook = nbformat.read(path, as_version=4)
resources = {"metadata": {"path": str(path.parent)}}
nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
if "--save" in sys.argv:
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)
print(f"{path}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells run")
