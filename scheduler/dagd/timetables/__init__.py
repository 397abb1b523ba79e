"""Floor 1: when. What users write (`schedules`), what it means (`build`), and the slots that follow (`base`).

A schedule becomes a JSON spec, the spec a `Timetable`. Inside, a grid (`grids`) names instants, `kinds` makes slots of
them, and `dst` alone knows how a local clock maps to UTC.
"""
