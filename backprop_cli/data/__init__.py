"""The digits: data sets, splits, and any picture brought to the form of the data set."""
