"""Which sequence holds a memory? Carriers of the best-holding units, predicted and measured."""
