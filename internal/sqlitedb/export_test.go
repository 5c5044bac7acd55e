package sqlitedb

// Queued tells tests how many operations wait for their transaction.
func (db *DB) Queued() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.queue)
}
