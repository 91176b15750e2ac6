"""What did every gate do at every base? Exact replay of an LSTM, whole contigs, gate tracks."""
