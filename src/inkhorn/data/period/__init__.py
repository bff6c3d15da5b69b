"""Text of Shakespeare's time and later text in its manner, from public-domain books and the King James Bible."""
