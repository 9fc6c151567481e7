"""The provider's side of the books: what each call costs, and the invoice that `GET /invoice` shows.

Begin with `charges.py`; `invoice.py` holds the totals and `invoice_file.py` keeps them across restarts.
"""
