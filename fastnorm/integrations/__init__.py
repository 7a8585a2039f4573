"""Objects that other libraries take for their own, one module for each library; each is imported where it is used."""
