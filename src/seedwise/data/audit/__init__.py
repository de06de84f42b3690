"""What a data set holds, without a network: damage, sizes, modes, balance, and labels that contradict predictions."""
