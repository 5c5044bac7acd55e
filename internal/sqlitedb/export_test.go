package sqlitedb

// Queued returns the number of queued operations.
func (db *DB) Queued() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.queue)
}
