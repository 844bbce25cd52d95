"""Every distortion at every severity: `PYTHONPATH=./ python scripts/draw_contact_sheet.py --save_path sheet.jpg`."""

import argparse

from skimage import data

from build_datasets.x_distortion.contact_sheet import draw_contact_sheet
from depictqa.files import writing

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw every distortion at every severity in one picture.")
    parser.add_argument("--save_path", required=True, help="a .jpg or .png")
    args = parser.parse_args()
    with writing(args.save_path):
        draw_contact_sheet(data.astronaut()[:300, 75:375]).save(args.save_path, quality=80)
