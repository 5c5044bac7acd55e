// Package transfer copies everything that one store holds to another, of the
// same or of another implementation, and proves that the copy is equal. No
// program uses the two stores meanwhile.
package transfer

import (
	"context"
	"time"

	"valence/atom/store"
)

// Kind is a kind of rows that every store has besides executions. The values of
// its rows are int64, string, []byte, or nil, in the order of the columns. Values
// that come from messages are []byte.
type Kind string

// Kinds of rows, with their columns. A time is in nanoseconds since 1970, nil
// for none. State and Value have the properties of a process under the name "",
// and a snapshot under "/" and its name. Signals are in order of arrival. Due of
// a LaneItem is nil for the head of its lane. State of a Wait is one of the
// constants below, and the last columns are those of a signal that has arrived
// early.
const (
	Contents  Kind = "contents"        // hash, body
	Lanes     Kind = "lanes"           // scope, key, since, free
	LaneItems Kind = "lane items"      // scope, key, pos, seq, process, due
	Dedupe    Kind = "dedupe keys"     // process, key, until, seq, received, holder, reply with a 1 before it
	Origins   Kind = "origins"         // key, seq, received, until
	Newest    Kind = "coalescing keys" // process, key, seq
	Waits     Kind = "waits"           // seq, place, state, path, match, until, kind, at, body
	Signals   Kind = "early signals"   // match, until, kind, at, body
	Holds     Kind = "holds"           // cause, seq
	Replies   Kind = "replies"         // seq, until, body
	States    Kind = "states"          // process, name, version
	Values    Kind = "values"          // process, name, key, value
	Cursors   Kind = "cursors"         // source, position
	Marks     Kind = "marks"           // key, until
	Writes    Kind = "writes"          // seq, path, system, record, until
)

// Kinds are all kinds, in the order in which they are copied.
var Kinds = []Kind{Contents, Lanes, LaneItems, Dedupe, Origins, Newest, Waits, Signals, Holds, Replies, States, Values, Cursors, Marks, Writes}

// States of a wait in rows.
const (
	WaitOpen     int64 = 1 + iota
	WaitSignaled       // its entry is in the journal
	WaitOver           // given up, or the execution has ended
	WaitEarly          // a signal has arrived before it was opened
)

// Execution is an execution, live or ended, with all its documents.
type Execution struct {
	store.Record
	Outcome *store.Outcome // nil: it is live
	Journal []store.Entry
	Kept    int64 // bytes of an unresolved failure that ran in memory
	// Since is when the retention of an ended execution began.
	Since time.Time
}

// Unresolved reports whether a failure waits for its resolution.
func (x *Execution) Unresolved() bool {
	return (&store.Execution{Outcome: x.Outcome}).Unresolved()
}

// Size is the approximate size of an execution in memory.
func (x *Execution) Size() int {
	n := 500 + len(x.Doc) + len(x.Data) + len(x.Meta)
	if x.Outcome != nil {
		n += len(x.Outcome.Trace) + len(x.Outcome.Error)
	}
	for i := range x.Journal {
		n += 64 + len(x.Journal[i].Body)
	}
	return n
}

// Reader reads a store. at is the time of the migration: the store counts a
// crash for the executions that were running when its last program died before
// that.
type Reader interface {
	// Rows calls each for every row of a kind. The values are valid until it returns.
	Rows(ctx context.Context, kind Kind, each func(values []any) error) error
	// Executions calls each for every execution whose number is greater than
	// after, in order of number.
	Executions(ctx context.Context, after int64, at time.Time, each func(x *Execution) error) error
}

// Origin identifies the content that is copied.
type Origin struct {
	Name  string // of the source, for people
	Store string // identifies the source
	Use   string // identifies the last start of a program on it
	Key   []byte // signs the ids of its executions
	Next  int64  // numbers from here on are unused
}

// Progress is how far a copy has come.
type Progress struct {
	At    time.Time // when it began
	Kinds int       // number of kinds that are complete; they come first
	After int64     // the number of the last execution that was copied
	Done  bool      // the copy was verified, and is in use
}

// Writer writes the copy. After a method returns, its rows and the progress
// survive a crash.
type Writer interface {
	// WriteRows writes all rows of a kind, which write passes on.
	WriteRows(ctx context.Context, kind Kind, write func(each func(values []any) error) error) error
	// WriteExecutions writes executions in order of number.
	WriteExecutions(ctx context.Context, all []*Execution) error
	// Complete derives the rest, such as indexes. It may be called again.
	Complete(ctx context.Context) error
}
