"""Long answers about two pictures and their reference from labels and measurements (two distortions at most).

PYTHONPATH=./ python scripts/gen_resp_template_refAB_md.py --help
"""

from build_datasets.dq495k.responses import template_command

if __name__ == "__main__":
    template_command("refAB")
