"""Run a notebook from this folder in a fresh kernel and print what it printed: python notebook.py NOTEBOOK

It stands alone, because the environments of the canary have only nbclient and what the notebook itself installs.
"""

import sys

import nbclient
import nbformat

if __name__ == "__main__":
    notebook = nbformat.read(sys.argv[1], as_version=4)
    # The kernel that runs is this interpreter's own, whichever kernels are installed for the user.
    client = nbclient.NotebookClient(notebook, timeout=3000, resources={"metadata": {"path": "."}})
    client.create_kernel_manager().kernel_spec.argv[0] = sys.executable
    try:
        client.execute()
    finally:
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                print(output.get("text", ""), end="")
