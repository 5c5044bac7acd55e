package cloudtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// Suite is the conformance test of a control plane's store. open returns an
// empty store and a function that reopens its data.
func Suite(t *testing.T, open func(t *testing.T) (st cloud.Store, again func() cloud.Store)) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"objects", (*suite).objects}, {"audit", (*suite).audit}, {"outbox", (*suite).outbox}, {"one request for a key", (*suite).oneForKey},
		{"instructions within bytes", (*suite).within}, {"change", (*suite).change}, {"records", (*suite).records}, {"a record is stored once", (*suite).once},
		{"results and seen", (*suite).resultsAndSeen}, {"purge", (*suite).purge}, {"archives", (*suite).archives}, {"strange text", (*suite).strange},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &suite{T: t}
			b.st, b.again = open(t)
			test.run(b)
		})
	}
}

// suite is a store under test.
type suite struct {
	*testing.T
	st    cloud.Store
	again func() cloud.Store
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (b *suite) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *suite) load() map[string]string {
	b.Helper()
	all := map[string]string{}
	b.must(b.st.Load(b.Context(), func(o cloud.Object) error {
		all[o.Kind+" "+o.ID] = o.Account + " " + string(o.Body)
		return nil
	}))
	return all
}

func (b *suite) objects() {
	put := func(objects ...cloud.Object) { b.must(b.st.Write(b.Context(), &cloud.Change{Objects: objects})) }
	put(cloud.Object{Kind: "token", ID: "1", Account: "a", Body: []byte(`{"n":1}`)}, cloud.Object{Kind: "atom", ID: "1", Account: "b", Body: []byte(`{"n":2}`)})
	put(cloud.Object{Kind: "token", ID: "1", Account: "a", Body: []byte(`{"n":3}`)}, cloud.Object{Kind: "token", ID: "2", Account: "a", Body: []byte(`{}`)})
	put(cloud.Object{Kind: "token", ID: "2", Account: "a"}, cloud.Object{Kind: "token", ID: "none", Account: "a"})
	b.st = b.again()
	if all := b.load(); len(all) != 2 || all["token 1"] != `a {"n":3}` || all["atom 1"] != `b {"n":2}` {
		b.Errorf(`got %v, want len(all) 2, all["token 1"] a {"n":3} and all["atom 1"] b {"n":2}`, all)
	}
	put(cloud.Object{Kind: "token", ID: "2", Account: "a", Body: []byte(`{"n":4}`)}) // again, after it was deleted
	if all := b.load(); all["token 2"] != `a {"n":4}` {
		b.Errorf(`got %v, want a {"n":4}`, all)
	}
}

func (b *suite) audit() {
	for n := range 7 {
		account := []string{"a", "b"}[n%2]
		b.must(b.st.Write(b.Context(), &cloud.Change{Audit: []cloud.AuditEntry{{Account: account, At: day, Action: fmt.Sprint(n)}}}))
	}
	var got []string
	for below := int64(0); ; {
		page, err := b.st.Audit(b.Context(), "a", below, 3)
		b.must(err)
		for _, e := range page {
			got, below = append(got, e.Action), e.ID
		}
		if len(page) < 3 {
			break
		}
	}
	if !slices.Equal(got, []string{"6", "4", "2", "0"}) {
		b.Errorf("%v", got)
	}
}

// enqueue stores a request and returns its id and that of its instruction.
func (b *suite) enqueue(n int, at time.Time, key string) (string, int64) {
	b.Helper()
	id := fmt.Sprint("executionrecord-", n)
	m := &cloud.Instruction{Account: "a", AtomID: "atom", Request: id, Created: at, Instruction: wire.Instruction{ID: int64(n), Kind: wire.KindExecute, Execute: &wire.Execute{Request: id}}}
	got, err := b.st.Enqueue(b.Context(), &cloud.ExecutionRequest{ID: id, Account: "a", AtomID: "atom", Created: at, IdempotencyKey: key, Document: []byte("d")}, m)
	b.must(err)
	return got, m.ID
}

func (b *suite) waiting() (ids []int64, highest int64) {
	b.Helper()
	highest, err := b.st.Undelivered(b.Context(), func(_ string, id int64) error { ids = append(ids, id); return nil })
	b.must(err)
	return ids, highest
}

func (b *suite) outbox() {
	ctx := b.Context()
	first, m1 := b.enqueue(7, day, "k")
	if again, _ := b.enqueue(8, day, "k"); again != first {
		b.Errorf("the same idempotency key: got %s", again)
	}
	_, m2 := b.enqueue(9, day, "")
	if m2 <= m1 {
		b.Errorf("ids do not grow: got %d, then %d", m1, m2)
	}
	b.must(b.st.Acknowledge(ctx, "another atom", []int64{m1}, day))
	b.must(b.st.Acknowledge(ctx, "atom", []int64{m2, 12345}, day))
	b.must(b.st.Acknowledge(ctx, "atom", []int64{m2}, day.Add(time.Hour)))
	b.st = b.again()
	if ids, highest := b.waiting(); highest < m2 || !slices.Equal(ids, []int64{m1}) {
		b.Errorf("got undelivered %v, highest %d, want %d", ids, highest, m1)
	}
	r, err := b.st.ExecutionRequest(ctx, "a", "executionrecord-9")
	if err != nil || r == nil || !r.Delivered.Equal(day) || r.AtomID != "atom" || len(r.Document) != 0 {
		b.Errorf("%+v, %v", r, err)
	}
	for _, c := range [][2]string{{"b", "executionrecord-9"}, {"a", "executionrecord-8"}} {
		if r, err := b.st.ExecutionRequest(ctx, c[0], c[1]); err != nil || r != nil {
			b.Errorf("%v: %+v, %v", c, r, err)
		}
	}
	stale, err := b.st.OlderThan(ctx, day.Add(time.Second), 10)
	if err != nil || len(stale) != 1 || stale[0].ID != m1 || stale[0].AtomID != "atom" || stale[0].Execute.Request != first {
		b.Errorf("got %+v, %v, want len(stale) 1, ID %v, AtomID atom, Request %q and no error", stale, err, m1, first)
	}
	if stale, err := b.st.OlderThan(ctx, day, 10); err != nil || len(stale) != 0 {
		b.Errorf("got %+v, %v, want len(stale) 0 and no error", stale, err)
	}
}

func (b *suite) oneForKey() {
	var all sync.WaitGroup
	ids := make([]string, 20)
	for n := range ids {
		all.Go(func() { ids[n], _ = b.enqueue(n, day, "k") })
	}
	all.Wait()
	if slices.Sort(ids); ids[0] == "" || ids[0] != ids[len(ids)-1] {
		b.Errorf("%v", ids)
	}
	if waiting, _ := b.waiting(); len(waiting) != 1 {
		b.Errorf("got %d instructions, want 1", len(waiting))
	}
}

func (b *suite) within() {
	var ids []int64
	for n := range 5 {
		_, id := b.enqueue(n+1, day, "")
		ids = append(ids, id)
	}
	for _, c := range []struct{ bytes, want int }{{1, 1}, {1 << 20, 4}} {
		found, err := b.st.Instructions(b.Context(), "atom", append(slices.Clone(ids[:4]), 999999), c.bytes)
		if err != nil || len(found) != c.want || found[0].ID != ids[0] || found[0].Request != "executionrecord-1" || !found[0].Created.Equal(day) {
			b.Errorf("within %d bytes: got %d, %v, want len(found) %v, ID %v, Request executionrecord-1, Created %+v and no error", c.bytes, len(found), err, c.want, ids[0], day)
		}
	}
	if found, err := b.st.Instructions(b.Context(), "another", ids, 1<<20); err != nil || len(found) != 0 {
		b.Errorf("another atom's: got %v, %v, want len(found) 0 and no error", found, err)
	}
}

func (b *suite) change() {
	_, m := b.enqueue(1, day, "")
	id := m + 10
	b.must(b.st.Write(b.Context(), &cloud.Change{
		Instructions: []*cloud.Instruction{{Instruction: wire.Instruction{ID: id, Kind: wire.KindRetire}, Account: "a", AtomID: "atom", Created: day}},
		Dropped:      []int64{m},
		Records:      []*cloud.ExecutionRecord{{ID: "execution-1", Account: "a", AtomID: "atom", RequestID: "executionrecord-1", Execution: "withdrawn", Status: cloud.Failed, Time: day}},
	}))
	if ids, _ := b.waiting(); !slices.Equal(ids, []int64{id}) {
		b.Errorf("%v waits", ids)
	}
	if found, err := b.st.Instructions(b.Context(), "atom", []int64{id}, 1<<20); err != nil || len(found) != 1 || found[0].Kind != wire.KindRetire {
		b.Errorf("got %v, %v, want len(found) 1, Kind retire and no error", found, err)
	}
	if r := b.byRequest("executionrecord-1"); r == nil || r.Status != cloud.Failed {
		b.Errorf("%+v", r)
	}
}

func (b *suite) byRequest(id string) *cloud.ExecutionRecord {
	b.Helper()
	found, _, err := b.st.Records(b.Context(), "a", cloud.RecordFilter{RequestID: id}, cloud.Cursor{}, 5)
	b.must(err)
	if len(found) != 1 {
		b.Errorf("got %d records of %s", len(found), id)
		return nil
	}
	return found[0]
}

func record(n int, at time.Time, status string) *cloud.ExecutionRecord {
	return &cloud.ExecutionRecord{
		ID: fmt.Sprintf("execution-%d", n), Account: "a", AtomID: "atom", EnvironmentID: fmt.Sprintf("e%d", n%2), Execution: fmt.Sprint("x", n),
		ProcessID: "p", Status: status, Time: at,
	}
}

func (b *suite) records() {
	ctx := b.Context()
	var all []*cloud.ExecutionRecord
	for n := range 25 {
		status := cloud.Complete
		if n%5 == 0 {
			status = cloud.Failed
		}
		all = append(all, record(n, day.Add(time.Duration(n/2)*time.Minute), status)) // two at each time
	}
	b.must(b.st.Report(ctx, all, nil))
	for _, c := range []struct {
		name string
		f    cloud.RecordFilter
		want int
	}{
		{"all", cloud.RecordFilter{}, 25},
		{"from", cloud.RecordFilter{From: day.Add(10 * time.Minute)}, 5},
		{"to", cloud.RecordFilter{To: day.Add(10 * time.Minute)}, 20},
		{"status", cloud.RecordFilter{Status: cloud.Failed}, 5},
		{"id", cloud.RecordFilter{ID: "execution-7"}, 1},
		{"atom", cloud.RecordFilter{AtomID: "another"}, 0},
		{"environments", cloud.RecordFilter{Environments: []string{"e0", "none"}}, 13},
		{"several", cloud.RecordFilter{Environments: []string{"e0"}, Status: cloud.Failed, ProcessID: "p", From: day}, 3},
	} {
		seen := map[string]bool{}
		var last time.Time
		for after := (cloud.Cursor{}); ; {
			page, next, err := b.st.Records(ctx, "a", c.f, after, 4)
			b.must(err)
			for _, r := range page {
				if seen[r.ID] || !last.IsZero() && r.Time.After(last) {
					b.Errorf("%s: %s is repeated or out of order", c.name, r.ID)
				}
				seen[r.ID], last = true, r.Time
			}
			if after = next; after == (cloud.Cursor{}) {
				break
			}
		}
		if len(seen) != c.want {
			b.Errorf("%s: got %d records, want %d", c.name, len(seen), c.want)
		}
	}
	if page, _, err := b.st.Records(ctx, "b", cloud.RecordFilter{}, cloud.Cursor{}, 4); err != nil || len(page) != 0 {
		b.Errorf("of another account: %v, %v", page, err)
	}
}

// once: a record reported repeatedly, also concurrently, is stored once.
func (b *suite) once() {
	ctx := b.Context()
	b.enqueue(1, day, "")
	report := func(id, status, request, original string) {
		r := record(1, day, status)
		r.ID, r.RequestID, r.OriginalID = id, request, original
		b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{r}, nil))
	}
	report("execution-first", cloud.InProcess, "executionrecord-1", "")
	report("execution-second", cloud.Complete, "executionrecord-1", "")
	report("execution-third", cloud.Failed, "executionrecord-1", "")
	if r := b.byRequest("executionrecord-1"); r == nil || r.ID != "execution-first" || r.Status != cloud.Complete {
		b.Errorf("%+v", r)
	}
	// After a crash, an atom may report the request of an execution only after
	// its end.
	b.enqueue(4, day, "")
	late := record(4, day, cloud.Complete)
	late.RequestID = ""
	b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{late}, nil))
	for id, status := range map[string]string{"execution-running": cloud.InProcess, "execution-late": cloud.Complete} {
		told := record(4, day, status)
		told.ID, told.RequestID = id, "executionrecord-4"
		b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{told}, nil))
	}
	if r := b.byRequest("executionrecord-4"); r == nil || r.ID != "execution-4" || r.Status != cloud.Complete || r.RequestID != "executionrecord-4" {
		b.Errorf("%+v", r)
	}
	foreign, again := record(2, day, cloud.Complete), record(3, day, cloud.Complete)
	foreign.AtomID, foreign.RequestID = "another", "executionrecord-1"
	again.OriginalID = "x1"
	b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{foreign, again}, nil))
	found, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{ID: "execution-3"}, cloud.Cursor{}, 1)
	if err != nil || len(found) != 1 || found[0].OriginalID != "execution-first" {
		b.Errorf("got %+v, %v, want len(found) 1, OriginalID execution-first and no error", found, err)
	}
	if r := b.byRequest("executionrecord-1"); r == nil || r.ResubmittedAs != "execution-3" { // not of another atom
		b.Errorf("got %+v, want it resubmitted as execution-3", r)
	}

	var all sync.WaitGroup
	for n := range 10 {
		all.Go(func() {
			var batch []*cloud.ExecutionRecord
			for i := range 20 {
				r := record(100+(i*7+n*3)%20, day, cloud.InProcess)
				if n%2 == 0 {
					r.Status = cloud.Complete
				}
				r.ID = fmt.Sprintf("execution-%d-%d", n, i)
				batch = append(batch, r)
			}
			if err := b.st.Report(ctx, batch, nil); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	done, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{Status: cloud.Complete}, cloud.Cursor{}, 100)
	if err != nil || len(done) != 20+4 {
		b.Errorf("got %d ended, %v, want len(done) %v and no error", len(done), err, 20+4)
	}
}

func (b *suite) resultsAndSeen() {
	ctx := b.Context()
	at := time.Now().Add(-time.Minute).UTC()
	b.must(b.st.Report(ctx, nil, []cloud.DeploymentResult{{Deployment: "d", AtomID: "b", State: "failed", At: day}, {Deployment: "d", AtomID: "a", State: "active", At: day}}))
	b.must(b.st.Report(ctx, nil, []cloud.DeploymentResult{{Deployment: "d", AtomID: "b", State: "active", At: day.Add(-time.Hour)}})) // its clock was set back
	results, err := b.st.Results(ctx, "d")
	if err != nil || len(results) != 2 || results[0].AtomID != "a" || results[1].State != "active" {
		b.Errorf("got %+v, %v, want len(results) 2, AtomID a, State active and no error", results, err)
	}
	b.must(b.st.SaveLastSeen(ctx, map[string]time.Time{"a": at.Add(-time.Hour), "b": at}))
	b.must(b.st.SaveLastSeen(ctx, map[string]time.Time{"a": at}))
	seen, err := b.st.LastSeen(ctx)
	if err != nil || len(seen) != 2 || seen["a"].Sub(at).Abs() > time.Second || seen["b"].Sub(at).Abs() > time.Second {
		b.Errorf("%v, %v, want %v", seen, err, at)
	}
}

// purge: expired data is deleted in steps; undelivered instructions are withdrawn
// first.
func (b *suite) purge() {
	ctx := b.Context()
	var old []*cloud.ExecutionRecord
	for n := range 1200 {
		old = append(old, record(n, day, cloud.Complete))
	}
	old = append(old, record(5000, day.Add(48*time.Hour), cloud.Complete))
	b.must(b.st.Report(ctx, old, []cloud.DeploymentResult{{Deployment: "over", AtomID: "atom", At: day}, {Deployment: "active", AtomID: "atom", At: day}}))
	b.enqueue(1, day, "k")
	_, m2 := b.enqueue(2, day, "")
	b.must(b.st.Acknowledge(ctx, "atom", []int64{m2}, day))
	b.must(b.st.Write(ctx, &cloud.Change{Audit: []cloud.AuditEntry{{Account: "a", At: day, Action: "old"}, {Account: "a", At: day.Add(48 * time.Hour), Action: "young"}}}))
	before := day.Add(24 * time.Hour)
	steps := 0
	for more := true; more; steps++ {
		var err error
		more, err = b.st.Purge(ctx, before, []string{"over"})
		b.must(err)
	}
	if steps < 3 {
		b.Errorf("got %d purge steps, want at least 3", steps)
	}
	left, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{}, cloud.Cursor{}, 10)
	if err != nil || len(left) != 1 || left[0].ID != "execution-5000" {
		b.Errorf("got %v, %v, want len(left) 1, ID execution-5000 and no error", left, err)
	}
	if r, err := b.st.ExecutionRequest(ctx, "a", "executionrecord-1"); err != nil || r == nil {
		b.Errorf("the undelivered request was purged: %v", err)
	}
	if r, err := b.st.ExecutionRequest(ctx, "a", "executionrecord-2"); err != nil || r != nil {
		b.Errorf("the delivered request was not purged: %v", err)
	}
	entries, err := b.st.Audit(ctx, "a", 0, 10)
	if err != nil || len(entries) != 1 || entries[0].Action != "young" {
		b.Errorf("got %v, %v, want len(entries) 1, Action young and no error", entries, err)
	}
	over, err := b.st.Results(ctx, "over")
	active, err2 := b.st.Results(ctx, "active")
	if err := errors.Join(err, err2); err != nil || len(over) != 0 || len(active) != 1 {
		b.Errorf("got %v, %v, %v, want len(over) 0, len(active) 1 and no error", over, active, err)
	}
}

func (b *suite) archives() {
	ctx := b.Context()
	large := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	archive, err := wire.Pack([]wire.PackageFile{{Name: "a.yaml", Content: large}})
	b.must(err)
	sha := wire.PackageID(archive)
	if _, err := b.st.Archive(ctx, sha); !errors.Is(err, cloud.ErrAltered) {
		b.Errorf("one that is not there: %v", err)
	}
	b.must(b.st.PutArchive(ctx, sha, archive))
	b.must(b.st.PutArchive(ctx, sha, archive))
	if err := b.st.PutArchive(ctx, sha, append(archive, 0)); !errors.Is(err, cloud.ErrAltered) {
		b.Errorf("other content under the hash: got %v, want ErrAltered", err)
	}
	b.st = b.again()
	f, err := b.st.Archive(ctx, sha)
	b.must(err)
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(text, archive) {
		b.Errorf("%d bytes, %v", len(text), err)
	}
	tail := make([]byte, 100)
	if _, err := f.Seek(-100, io.SeekEnd); err != nil {
		b.Error(err)
	}
	if _, err := io.ReadFull(f, tail); err != nil || !bytes.Equal(tail, archive[len(archive)-100:]) {
		b.Errorf("the end of it: %v", err)
	}
	if _, err := b.st.Archive(ctx, "../cloud.db"); !errors.Is(err, cloud.ErrNotFound) {
		b.Errorf("a path as hash: got %v, want an error", err)
	}
	b.must(b.st.DeleteArchive(ctx, sha))
	if _, err := b.st.Archive(ctx, sha); err == nil {
		b.Error("the archive exists after it was deleted")
	}
	b.must(b.st.DeleteArchive(ctx, sha))
	b.must(b.st.PutArchive(ctx, sha, archive))
}

// strange: reported strings may contain anything.
func (b *suite) strange() {
	ctx := context.WithoutCancel(b.Context())
	text := "a\x00b\xff'\"\\ü"
	if _, err := b.st.ExecutionRequest(ctx, "a", text); err != nil {
		b.Error(err)
	}
	if _, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{ID: text, AtomID: text}, cloud.Cursor{}, 1); err != nil {
		b.Error(err)
	}
	if _, err := b.st.Instructions(ctx, text, []int64{1}, 1); err != nil {
		b.Error(err)
	}
	first, _ := b.enqueue(1, day, text)
	if again, _ := b.enqueue(2, day, text); again != first {
		b.Errorf("the same idempotency key: got %s", again)
	}
	r := record(1, day, cloud.Complete)
	r.Execution, r.RequestID, r.OriginalID, r.Message, r.ProcessName = text, text, text, text, text
	b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{r}, []cloud.DeploymentResult{{Deployment: "d", AtomID: "a", Detail: text}}))
	b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{r}, nil))
	if found, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{}, cloud.Cursor{}, 10); err != nil || len(found) != 1 || found[0].ID != r.ID {
		b.Errorf("got %v, %v, want len(found) 1, ID %q and no error", found, err, r.ID)
	}
	b.must(b.st.Write(ctx, &cloud.Change{Audit: []cloud.AuditEntry{{Account: "a", Who: text, Object: text, Detail: text, At: day}}}))
}
