"""The REST interface below ``/api/v1``: a router a file, shapes in `shapes`."""
