"""The Loihi 2 backend: what fits, how it is split over cores, and the files of an artifact."""
