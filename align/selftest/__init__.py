"""The mutation benchmark: real kinds of porting bugs, injected into one side, and what the stages say of them."""
