"""What each request passes before a view sees it: who asks, how often, whether the database fits; and what may be kept of the response."""
