"""What both pages need on the open internet: files that go, requests that are let in, visitors, operators, an end."""
