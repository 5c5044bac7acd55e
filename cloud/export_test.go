package cloud

// FillMailbox fills an atom's mailbox, in memory only.
func (s *Service) FillMailbox(atom string) {
	for range maxWaiting {
		s.mailboxes.of(atom).add(s.mailboxes.nextID())
	}
}
