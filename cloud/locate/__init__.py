"""Where a device is: a radio map of the store and a Bayes filter over its floor grid."""
