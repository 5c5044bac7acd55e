package cloud

// Crowd makes as many messages wait for an atom as may, in memory alone.
func (s *Service) Crowd(atom string) {
	for range maxWaiting {
		s.lines.of(atom).add(s.lines.next())
	}
}
