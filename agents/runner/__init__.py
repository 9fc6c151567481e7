"""The only package that imports Faust: it turns stages into agents and owns everything around them."""
