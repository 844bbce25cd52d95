"""Which pictures of which Debian packages Nano is trained on, chosen by eye; their licences: docs/nano_photos.md.

PHOTOGRAPHS are what a camera saw. OTHERS are drawings, screenshots, maps, text and the night sky: nothing is wrong with
them either. A pattern is that of a path below the package's folder (`Path.glob`), after Qt's resource files have been
unpacked beside themselves: `erase.rcc` gives `erase/...`. Held-out photos come from Python packages and are in
`photos.py`.
"""

_LOMIRI = "usr/share/backgrounds/"
_MATE = "usr/share/backgrounds/mate/"
_PLASMA = "usr/share/wallpapers/{}/contents/images/2560x1600.jpg"
_GCOMPRIS = "usr/share/gcompris-qt/rcc/"
_OPENCV = "usr/share/doc/opencv-doc/examples/"
_STELLARIUM = "usr/share/stellarium/"


def _each(pattern: str, names: str) -> list[str]:
    """The pattern with each of the names (separated by spaces) in place of {}."""
    return [pattern.format(name) for name in names.split()]


PHOTOGRAPHS = {  # package -> patterns
    "lomiri-wallpapers-16.04": _each(
        _LOMIRI + "{}.jpg",
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace Picture_1A_by_freespace "
        "Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi free_by_Peter_Nerlich friends_by_Aitzol_Berasategi "
        "greentock_by_Peter_Nerlich life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi "
        "seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi",
    ),
    "lomiri-wallpapers-20.04": [_LOMIRI + "Kleiber_by_Lukas_Baubkus.jpg"],
    "mate-backgrounds": [_MATE + "nature/*.jpg"],
    "plasma-workspace-wallpapers": _each(
        _PLASMA, "BytheWater ColdRipple ColorfulCups EveningGlow FallenLeaf Kite OneStandsOut Path summer_1am"
    ),
    "kphotoalbum": ["usr/share/kphotoalbum/demo/[!q]*.jpg"],  # snapshots; q is the logo of Qt
    "gcompris-qt-data": [
        _GCOMPRIS + "erase/*.webp",
        _GCOMPRIS + "explore_monuments/*/*.webp",
        _GCOMPRIS + "explore_*/animals/*.webp",
        _GCOMPRIS + "explore_world_music/music/*.webp",
        *_each(
            _GCOMPRIS + "details/image/{}_background.webp",
            "Chenonceau EgeskovSlotSpejling EilanDonanCastle FanoeWindmill GizahPyramids Louvre_2007_02_24_c NDP Nagoya "
            "Neuschwanstein OperaSidney TajMahal TourEiffel TowerBridgeLondon",
        ),
        _GCOMPRIS + "categorization/images/fishes/*.webp",
        _GCOMPRIS + "categorization/images/renewable/*.webp",
        _GCOMPRIS + "categorization/images/monuments/*.webp",
        *_each(
            _GCOMPRIS + "categorization/images/others/{}.webp",
            "baseball blackslate bucket bulb chair cup igloo pan pillow plate spoons",
        ),
        *_each(_GCOMPRIS + "louis-braille/{}.webp", "fireplace rnib statue teach workshop"),
    ],
    "opencv-doc": [
        *_each(
            _OPENCV + "data/{}.*",
            "aero1 aloeL baboon board building butterfly chicky_512 fruits home left leuvenA messi5 rubberwhale1 "
            "squirrel_cls stuff graf1",
        ),
        *_each(_OPENCV + "text/{}.jpg", "scenetext01 scenetext02 scenetext03 scenetext04 scenetext05 scenetext06"),
        *_each(_OPENCV + "text/scenetext_segmented_word{}.jpg", "01 02 03 04"),
        _OPENCV + "hfs/data/00[0-2].jpg",
        _OPENCV + "alphamat/input_images/plant.jpg",
    ],
    "stellarium-data": [
        _STELLARIUM + "landscapes/hurricane/hurricane?.png",
        _STELLARIUM + "landscapes/garching/garching-g*.png",
        *_each(_STELLARIUM + "landscapes/guereins/guereins{}.png", "1 2 3 4 5 6 7 8 b"),
    ],
}

OTHERS = {
    "mate-backgrounds": [
        *_each(_MATE + "abstract/{}.png", "Flow Gulp Silk Spring Waves"),
        *_each(
            _MATE + "desktop/{}", "GreenTraditional.jpg Stripes.png Ubuntu-Mate-Cold-no-logo.png Float-into-MATE.png"
        ),
    ],
    "ukui-wallpapers": ["usr/share/backgrounds/*.jpg", "usr/share/backgrounds/*.png"],
    "gnome-backgrounds": _each("usr/share/backgrounds/gnome/{}.webp", "licorice-l pixels-l truchet-l wood-d"),
    "gcompris-qt-data": [
        *_each(
            _GCOMPRIS + "details/image/{}_background.webp",
            "Eglise_dAuvers-sur-Oise Gogh4 PortraitOfPereTanguy Van_Gogh_The_Night_Cafe VincentVanGogh0013 "
            "VincentVanGogh0019 VincentVanGoghBridge",
        ),
        *_each(
            _GCOMPRIS + "lang/words_sample/{}.webp",
            "animal apple bear bird blue boy cat color duck family frog fruit grandmother kiwi lemon mosquito panda red "
            "sister six spider wolf",
        ),
    ],
    "kphotoalbum": _each(
        "usr/share/doc/HTML/en/kphotoalbum/{}.png",
        "options-general splash-large browser-for-jesper imagesForPersons tokens-in-thumbnail-viewer options-viewer "
        "image-config-window options-member datebar thumbnailview options-backend images-with-tokens search viewer",
    ),
    "opencv-doc": [
        *_each(_OPENCV + "data/{}.*", "imageTextN sudoku starry_night smarties box digits WindowsLogo"),
        _OPENCV + "ximgproc/stanford.png",
    ],
    "stellarium-data": [
        *_each(
            _STELLARIUM + "nebulae/default/{}.png",
            "n7000 n2506-vasey m51-vasey m15-vasey m31 n2170 n3227-vasey ic443-vasey ic434 m42 n7635-vasey virgo_cluster "
            "etaCarinae m20 m44 m78 n1333 n2244 ic4592 smc29-1",
        ),
        _STELLARIUM + "textures/milkyway.png",
        _STELLARIUM + "textures/moon_4k.jpg",
        _STELLARIUM + "scenery3d/Sterngarten/Sterngarten_Wien_innerArea/Tafel_*.jpg",
    ],
}
