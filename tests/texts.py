"""Short texts that tests share."""

TEXT = (
    "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals, "
    "when it was checked by a violent gust of wind which swept up the streets. "
)

FRENCH = [
    "Le vieux marin regardait la mer sans rien dire.",
    "Sa fille lui apporta un verre de vin rouge.",
    "Ils attendaient le bateau depuis trois jours.",
    "Le vent du nord soufflait toujours plus fort.",
    "Enfin une voile blanche parut au loin.",
    "Elle courut jusqu'au bout de la jetée.",
    "Son frère était debout à la proue du navire.",
    "Personne ne dormit cette nuit-là dans la maison.",
]
ENGLISH = [
    "The old sailor looked at the sea without a word.",
    "His daughter brought him a glass of red wine.",
    "They had been waiting for the boat for three days.",
    "The north wind blew stronger and stronger.",
    "At last a white sail appeared in the distance.",
    "She ran to the very end of the pier.",
    "Her brother was standing at the bow of the ship.",
    "Nobody slept that night in the house.",
]
