"""Images, label tables and support sets: everything between a user's folder and the detector."""
