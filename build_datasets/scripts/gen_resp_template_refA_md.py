"""Long answers about one picture and its reference from labels and measurements (two distortions).

PYTHONPATH=./ python scripts/gen_resp_template_refA_md.py --help
"""

from build_datasets.dq495k.responses import template_command

if __name__ == "__main__":
    template_command("refA")
