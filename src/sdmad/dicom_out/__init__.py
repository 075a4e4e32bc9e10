"""Results as DICOM objects, and the images of a DICOMweb server."""
