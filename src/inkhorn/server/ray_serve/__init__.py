"""Serving on a Ray cluster: replicas of the application, one deployment for each model, behind one address.

Only functions import ray, which `pip install 'inkhorn[ray]'` installs.
"""
