"""What tills write, read into canonical receipts: bytes in, receipts with their place out, nothing else touched."""
