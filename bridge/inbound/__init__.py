"""Stage 1: store an inbound text once, and choose its queue. Events of chats are stored here too."""
