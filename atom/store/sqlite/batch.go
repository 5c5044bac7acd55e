package sqlite

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// pendingAccept is a message that is being accepted, into a pack or a row.
type pendingAccept struct {
	storedMessage
	entries     []storedEntry
	receipt     store.Receipt
	keys        []uniqueKey
	dedupeUntil int64          // expiry of its dedupe key
	holder      []byte         // store.Dedupe.Holder
	arrival     int64          // order in its transaction
	takesPos    int64          // lane position inherited from a failed execution; 0: none
	ended       *storedOutcome // nil: it is to be run
}

// uniqueKey is the dedupe key or the origin of a message.
type uniqueKey struct {
	origin bool
	key    []byte
}

// batch is the effect of the current transaction on the live index. Only the
// committer's goroutine uses it.
type batch struct {
	s *Store
	acceptances
	changes
	packs      map[int64]*pack // read in this transaction
	encoder    messageEncoder
	ready      []store.Wakeup // executions that become ready
	retired    *retired
	unlinks    [][32]byte        // documents without references
	removals   []string          // files without references
	cursors    map[string][]byte // new cursors, by source
	seqCeiling int64             // new ceiling of reserved numbers; 0: unchanged
	now        time.Time
}

// acceptances are the messages that a transaction accepts.
type acceptances struct {
	toPack         []*pendingAccept                  // to be written in packs
	inRows         []*pendingAccept                  // written as rows
	newPacks       []*pack                           // written from toPack
	records        []*store.Record                   // of inRows and the members of newPacks
	keysTaken      map[string]*pendingAccept         // by unique key
	duplicates     map[*store.Receipt]*pendingAccept // of messages in toPack
	laneAdmissions map[[2]string]int64               // into lanes with a limit
}

// changes are the executions that a transaction changes.
type changes struct {
	mutations     map[int64]*mutation
	mutationOrder []*mutation
	changeBody    []byte // row of change
	changeID      int64  // id of that row; 0: none
	lastID        int64  // newest committed row of change
}

func newBatch(s *Store) *batch {
	return &batch{s: s, packs: map[int64]*pack{}, cursors: map[string][]byte{}, changes: changes{mutations: map[int64]*mutation{}},
		acceptances: acceptances{keysTaken: map[string]*pendingAccept{}, duplicates: map[*store.Receipt]*pendingAccept{}}}
}

// Begin resets the batch for a new transaction.
func (b *batch) Begin() {
	clear(b.records)
	clear(b.keysTaken)
	clear(b.duplicates)
	clear(b.mutations)
	clear(b.packs)
	clear(b.cursors)
	*b = batch{
		s: b.s, packs: b.packs, cursors: b.cursors, encoder: b.encoder, ready: b.ready[:0], unlinks: b.unlinks[:0], removals: b.removals[:0], now: b.s.clock.monotonic(),
		acceptances: acceptances{toPack: b.toPack[:0], inRows: b.inRows[:0], newPacks: b.newPacks[:0], records: b.records[:0], keysTaken: b.keysTaken, duplicates: b.duplicates},
		changes:     changes{mutations: b.mutations, mutationOrder: b.mutationOrder[:0], changeBody: reuseBuffer(b.changeBody), lastID: b.lastID},
	}
}

// Flush numbers the staged messages, and writes the packs and the row of
// change.
func (b *batch) Flush(tx *sqlitedb.Tx) error {
	if err := b.flushPacks(tx); err != nil {
		return err
	}
	if err := b.flushChanges(tx); err != nil {
		return err
	}
	if err := b.flushCursors(tx); err != nil {
		return err
	}
	if ceiling := b.s.seqs.wantedCeiling(); ceiling != 0 {
		b.seqCeiling = ceiling
		if err := setSetting(tx, settingSeq, ceiling); err != nil {
			return err
		}
	}
	b.s.announcements.begin()
	return nil
}

func (b *batch) flushPacks(tx *sqlitedb.Tx) error {
	if len(b.toPack) == 0 {
		return nil
	}
	for i, a := range b.toPack {
		a.arrival = int64(i)
	}
	slices.SortStableFunc(b.toPack, func(x, y *pendingAccept) int { return cmp.Compare(x.Process, y.Process) })
	first := b.s.seqs.allocate(int64(len(b.toPack)))
	var laned []laneEntrant
	var ended []*mutation
	for i := 0; i < len(b.toPack); {
		n := i
		p := &pack{first: first + int64(i), process: b.toPack[i].Process}
		for n < len(b.toPack) && b.toPack[n].Process == p.process {
			a := b.toPack[n]
			own := &store.Record{Message: *a.Message, State: store.Accepted} // the caller's message stays unchanged
			own.Seq, own.Entries, own.Dedupe = first+int64(n), nil, nil
			if a.Lane != nil {
				l := *a.Lane
				l.Pos = first + a.arrival
				own.Lane = &l
				laned = append(laned, laneEntrant{a, own})
			}
			a.Message = &own.Message
			a.receipt.Seq, a.receipt.Received = own.Seq, own.Received
			if a.ended == nil {
				b.records = append(b.records, own)
			} else {
				a.receipt.Ended = true
				ended = append(ended, &mutation{seq: own.Seq, process: p.process, pack: p, before: codeAccepted, after: statusCode(string(a.ended.Status)), outcome: a.ended})
			}
			h := a.storedMessage
			p.members = append(p.members, &h)
			p.bytes += len(a.Doc) + len(a.Data) + len(a.Meta) + 400
			n++
		}
		p.last = first + int64(n) - 1
		head, docs := b.encoder.encode(p.members)
		if _, err := tx.Exec("INSERT INTO intake(first, last, process, head, docs, laned) VALUES(?,?,?,?,?,?)", p.first, p.last, p.process, head, docs, p.allInLanes()); err != nil {
			return err
		}
		b.newPacks = append(b.newPacks, p)
		i = n
	}
	if err := b.lanes().enterAll(tx, laned); err != nil {
		return err
	}
	for _, a := range b.toPack {
		if err := b.writeKeys(tx, a); err != nil {
			return err
		}
		if err := writeFiles(tx, a.receipt.Seq, &a.storedMessage, nil, nil); err != nil {
			return err
		}
	}
	for r, a := range b.duplicates {
		r.Seq, r.Received = a.receipt.Seq, a.receipt.Received
	}
	b.mutationOrder = append(b.mutationOrder, ended...)
	return nil
}

// Flags of an item in a row of change.
const (
	changeRow      = 1 << iota // the execution had a row
	changeEntries              // journal entries follow
	changeOutcome              // its outcome follows
	changePromoted             // it was promoted to a row
)

func (b *batch) flushChanges(tx *sqlitedb.Tx) error {
	body := b.changeBody
	for _, m := range b.mutationOrder {
		flags := byte(0)
		switch {
		case m.formerPack != nil:
			flags |= changePromoted
		case m.pack == nil && m.outcome == nil, len(m.entries) == 0 && m.outcome == nil:
			continue
		case m.pack == nil:
			flags |= changeRow
		}
		if len(m.entries) > 0 && m.formerPack == nil {
			flags |= changeEntries
		}
		if m.outcome != nil {
			flags |= changeOutcome
			if m.formerPack != nil {
				flags |= changeRow
				if len(m.entries) > 0 {
					flags |= changeEntries
				}
			}
		}
		body = append(binary.AppendUvarint(body, uint64(m.seq)), flags)
		if flags&changeEntries != 0 {
			body = appendEntries(body, m.entries)
		}
		if flags&changeOutcome != 0 {
			body = appendOutcome(body, m.outcome, true)
		}
		if err := writeFiles(tx, m.seq, nil, m.entries, m.outcome); err != nil {
			return err
		}
	}
	if len(body) == 0 {
		return nil
	}
	b.changeID = b.lastID + 1
	b.changeBody = appendCRC(body, 0)
	_, err := tx.Exec("INSERT INTO change(id, body) VALUES(?,?)", b.changeID, b.changeBody)
	return err
}

// Committed updates the live index after a commit, and reports accepted and
// ready executions.
func (b *batch) Committed() {
	s := b.s
	s.mu.Lock()
	idx := s.index
	if b.changeID != 0 {
		b.lastID = b.changeID
	}
	for _, p := range b.newPacks {
		idx.cache(p)
		idx.addCount(p.process, store.Accepted, p.last-p.first+1)
	}
	for _, a := range b.inRows {
		idx.addCount(a.Process, stateOf(a.Message, b.now), 1)
	}
	for _, m := range b.mutationOrder {
		b.updateIndex(m)
	}
	b.retired.removeFrom(idx, b.now)
	movable := idx.unarchived
	s.mu.Unlock()
	if b.seqCeiling != 0 {
		s.seqs.raise(b.seqCeiling)
	}
	if len(b.unlinks) > 0 {
		s.blobs.unlink(b.unlinks)
	}
	if len(b.removals) > 0 {
		s.files.remove(b.removals)
	}
	if len(b.records) > 0 && s.accepted != nil {
		s.accepted(b.records)
	}
	if len(b.ready) > 0 && s.ready != nil {
		s.ready(b.ready)
	}
	s.announcements.end()
	if movable > archiveAtBytes {
		s.archiver.wake()
	}
}

// updateIndex applies the mutation of one execution to the live index.
func (b *batch) updateIndex(m *mutation) {
	idx := b.s.index
	watch := func(p *pack, f memberState) {
		idx.track(p, b.now)
		p.states[m.seq-p.first] = f
		if n := len(p.changes); b.changeID != 0 && (n == 0 || p.changes[n-1] != b.changeID) {
			p.changes = append(p.changes, b.changeID)
			idx.changeRefs[b.changeID]++
		}
	}
	if m.after != m.before {
		idx.addCount(m.process, store.State(statusName(m.before)), -1)
		if m.after < firstEndedCode {
			idx.addCount(m.process, store.State(statusName(m.after)), 1)
		}
	}
	if m.trimmed {
		idx.trims[m.seq]++
	}
	if m.after >= firstEndedCode || m.suspended {
		b.s.running.stopped(m.seq)
	}
	if m.suspended || m.formerPack != nil || m.after == codeFailed || m.after == codeExpired {
		idx.tombstones.add(m.seq, memberPromoted, b.now)
	}
	if m.formerPack != nil {
		watch(m.formerPack, memberPromoted)
		delete(idx.active, m.seq)
	}
	switch {
	case m.pack != nil && (len(m.entries) > 0 || m.outcome != nil):
		member := idx.active[m.seq]
		if member == nil {
			member = &activeMember{seq: m.seq, process: m.process, pack: m.pack}
			idx.active[m.seq] = member
		}
		member.entries = append(member.entries, m.entries...)
		watch(m.pack, memberRunning)
		if m.outcome != nil {
			member.outcome = m.outcome
			m.pack.states[m.seq-m.pack.first] = memberEnded
			idx.addUnarchived(member)
		}
	case m.pack == nil && m.outcome != nil:
		member := &activeMember{seq: m.seq, process: m.process, entries: m.entries, outcome: m.outcome, changeID: b.changeID}
		idx.active[m.seq] = member
		idx.changeRefs[b.changeID]++
		idx.addUnarchived(member)
	case m.pack == nil && m.formerPack == nil:
		delete(idx.active, m.seq)
	}
}

// addUnarchived counts the memory that an ended execution holds until it is
// archived.
func (idx *liveIndex) addUnarchived(member *activeMember) {
	member.bytes = 512 + len(member.outcome.Trace)
	for i := range member.entries {
		member.bytes += len(member.entries[i].Body) + 100
	}
	if member.pack != nil && member.pack.members != nil {
		h := member.pack.members[member.seq-member.pack.first]
		member.bytes += len(h.Doc) + len(h.Data) + len(h.Meta)
	}
	idx.unarchived += member.bytes
}

// RolledBack announces nothing. Begin resets the batch, and numbers allocated
// meanwhile stay unused.
func (b *batch) RolledBack() { b.s.announcements.end() }

func stateOf(a *store.Message, now time.Time) store.State {
	if a.Due.After(now) {
		return store.Waiting
	}
	return store.Accepted
}
