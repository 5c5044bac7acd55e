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

// Suite is what every store of a control plane passes. Open gives an empty
// one, and a function that gives one on the same data, after a restart.
func Suite(t *testing.T, open func(t *testing.T) (st cloud.Store, again func() cloud.Store)) {
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"objects", (*bench).objects}, {"audit", (*bench).audit}, {"outbox", (*bench).outbox}, {"one request for a key", (*bench).oneForKey},
		{"messages within bytes", (*bench).within}, {"change", (*bench).change}, {"records", (*bench).records}, {"a record is stored once", (*bench).once},
		{"results and seen", (*bench).resultsAndSeen}, {"purge", (*bench).purge}, {"archives", (*bench).archives}, {"strange text", (*bench).strange},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &bench{T: t}
			b.st, b.again = open(t)
			test.run(b)
		})
	}
}

// bench is a store under test.
type bench struct {
	*testing.T
	st    cloud.Store
	again func() cloud.Store
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) load() map[string]string {
	b.Helper()
	all := map[string]string{}
	b.must(b.st.Load(b.Context(), func(o cloud.Object) error {
		all[o.Kind+" "+o.ID] = o.Account + " " + string(o.Body)
		return nil
	}))
	return all
}

func (b *bench) objects() {
	put := func(objects ...cloud.Object) { b.must(b.st.Write(b.Context(), &cloud.Change{Objects: objects})) }
	put(cloud.Object{Kind: "token", ID: "1", Account: "a", Body: []byte(`{"n":1}`)}, cloud.Object{Kind: "atom", ID: "1", Account: "b", Body: []byte(`{"n":2}`)})
	put(cloud.Object{Kind: "token", ID: "1", Account: "a", Body: []byte(`{"n":3}`)}, cloud.Object{Kind: "token", ID: "2", Account: "a", Body: []byte(`{}`)})
	put(cloud.Object{Kind: "token", ID: "2", Account: "a"}, cloud.Object{Kind: "token", ID: "none", Account: "a"})
	b.st = b.again()
	if all := b.load(); len(all) != 2 || all["token 1"] != `a {"n":3}` || all["atom 1"] != `b {"n":2}` {
		b.Errorf("%v", all)
	}
	put(cloud.Object{Kind: "token", ID: "2", Account: "a", Body: []byte(`{"n":4}`)}) // again, after it was deleted
	if all := b.load(); all["token 2"] != `a {"n":4}` {
		b.Errorf("%v", all)
	}
}

func (b *bench) audit() {
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

// enqueue stores a request and gives its id, and that of its message.
func (b *bench) enqueue(n int, at time.Time, key string) (string, int64) {
	b.Helper()
	id := fmt.Sprint("executionrecord-", n)
	m := &cloud.Message{Account: "a", AtomID: "atom", Request: id, Created: at, Message: wire.Message{ID: int64(n), Kind: wire.KindExecute, Execute: &wire.Execute{Request: id}}}
	got, err := b.st.Enqueue(b.Context(), &cloud.ExecutionRequest{ID: id, Account: "a", AtomID: "atom", Created: at, IdempotencyKey: key, Document: []byte("d")}, m)
	b.must(err)
	return got, m.ID
}

func (b *bench) waiting() (ids []int64, highest int64) {
	b.Helper()
	highest, err := b.st.Waiting(b.Context(), func(_ string, id int64) error { ids = append(ids, id); return nil })
	b.must(err)
	return ids, highest
}

func (b *bench) outbox() {
	ctx := b.Context()
	first, m1 := b.enqueue(7, day, "k")
	if again, _ := b.enqueue(8, day, "k"); again != first {
		b.Errorf("the same key made %s", again)
	}
	_, m2 := b.enqueue(9, day, "")
	if m2 <= m1 {
		b.Errorf("the ids do not grow: %d, %d", m1, m2)
	}
	b.must(b.st.Acknowledge(ctx, "another atom", []int64{m1}, day))
	b.must(b.st.Acknowledge(ctx, "atom", []int64{m2, 12345}, day))
	b.must(b.st.Acknowledge(ctx, "atom", []int64{m2}, day.Add(time.Hour)))
	b.st = b.again()
	if ids, highest := b.waiting(); highest < m2 || !slices.Equal(ids, []int64{m1}) {
		b.Errorf("%v waits, highest %d, want %d", ids, highest, m1)
	}
	r, err := b.st.Request(ctx, "a", "executionrecord-9")
	if err != nil || r == nil || !r.Delivered.Equal(day) || r.AtomID != "atom" || len(r.Document) != 0 {
		b.Errorf("%+v, %v", r, err)
	}
	for _, c := range [][2]string{{"b", "executionrecord-9"}, {"a", "executionrecord-8"}} {
		if r, err := b.st.Request(ctx, c[0], c[1]); err != nil || r != nil {
			b.Errorf("%v: %+v, %v", c, r, err)
		}
	}
	stale, err := b.st.Stale(ctx, day.Add(time.Second), 10)
	if err != nil || len(stale) != 1 || stale[0].ID != m1 || stale[0].AtomID != "atom" || stale[0].Execute.Request != first {
		b.Errorf("%+v, %v", stale, err)
	}
	if stale, err := b.st.Stale(ctx, day, 10); err != nil || len(stale) != 0 {
		b.Errorf("%+v, %v", stale, err)
	}
}

func (b *bench) oneForKey() {
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
		b.Errorf("%d messages", len(waiting))
	}
}

func (b *bench) within() {
	var ids []int64
	for n := range 5 {
		_, id := b.enqueue(n+1, day, "")
		ids = append(ids, id)
	}
	for _, c := range []struct{ bytes, want int }{{1, 1}, {1 << 20, 4}} {
		found, err := b.st.Messages(b.Context(), "atom", append(slices.Clone(ids[:4]), 999999), c.bytes)
		if err != nil || len(found) != c.want || found[0].ID != ids[0] || found[0].Request != "executionrecord-1" || !found[0].Created.Equal(day) {
			b.Errorf("within %d bytes: %d, %v", c.bytes, len(found), err)
		}
	}
	if found, err := b.st.Messages(b.Context(), "another", ids, 1<<20); err != nil || len(found) != 0 {
		b.Errorf("another atom's: %v, %v", found, err)
	}
}

func (b *bench) change() {
	_, m := b.enqueue(1, day, "")
	id := m + 10
	b.must(b.st.Write(b.Context(), &cloud.Change{
		Messages: []*cloud.Message{{Message: wire.Message{ID: id, Kind: wire.KindRetire}, Account: "a", AtomID: "atom", Created: day}},
		Dropped:  []int64{m},
		Records:  []*cloud.ExecutionRecord{{ID: "execution-1", Account: "a", AtomID: "atom", RequestID: "executionrecord-1", Execution: "withdrawn", Status: cloud.Failed, Time: day}},
	}))
	if ids, _ := b.waiting(); !slices.Equal(ids, []int64{id}) {
		b.Errorf("%v waits", ids)
	}
	if found, err := b.st.Messages(b.Context(), "atom", []int64{id}, 1<<20); err != nil || len(found) != 1 || found[0].Kind != wire.KindRetire {
		b.Errorf("%v, %v", found, err)
	}
	if r := b.byRequest("executionrecord-1"); r == nil || r.Status != cloud.Failed {
		b.Errorf("%+v", r)
	}
}

func (b *bench) byRequest(id string) *cloud.ExecutionRecord {
	b.Helper()
	found, _, err := b.st.Records(b.Context(), "a", cloud.RecordFilter{RequestID: id}, cloud.Place{}, 5)
	b.must(err)
	if len(found) != 1 {
		b.Errorf("%d records of %s", len(found), id)
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

func (b *bench) records() {
	ctx := b.Context()
	var all []*cloud.ExecutionRecord
	for n := range 25 {
		status := cloud.Complete
		if n%5 == 0 {
			status = cloud.Failed
		}
		all = append(all, record(n, day.Add(time.Duration(n/2)*time.Minute), status)) // two of each time
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
		for after := (cloud.Place{}); ; {
			page, next, err := b.st.Records(ctx, "a", c.f, after, 4)
			b.must(err)
			for _, r := range page {
				if seen[r.ID] || !last.IsZero() && r.Time.After(last) {
					b.Errorf("%s: %s comes twice or out of order", c.name, r.ID)
				}
				seen[r.ID], last = true, r.Time
			}
			if after = next; after == (cloud.Place{}) {
				break
			}
		}
		if len(seen) != c.want {
			b.Errorf("%s: %d records, want %d", c.name, len(seen), c.want)
		}
	}
	if page, _, err := b.st.Records(ctx, "b", cloud.RecordFilter{}, cloud.Place{}, 4); err != nil || len(page) != 0 {
		b.Errorf("of another account: %v, %v", page, err)
	}
}

// What is reported again and again, also by several at once, is one record.
func (b *bench) once() {
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
	// An atom that was killed may tell only after the end that it was asked for.
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
	found, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{ID: "execution-3"}, cloud.Place{}, 1)
	if err != nil || len(found) != 1 || found[0].OriginalID != "execution-first" {
		b.Errorf("%+v, %v", found, err)
	}
	b.byRequest("executionrecord-1") // no other atom's

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
	done, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{Status: cloud.Complete}, cloud.Place{}, 100)
	if err != nil || len(done) != 20+4 {
		b.Errorf("%d ended, %v", len(done), err)
	}
}

func (b *bench) resultsAndSeen() {
	ctx := b.Context()
	at := time.Now().Add(-time.Minute).UTC()
	b.must(b.st.Report(ctx, nil, []cloud.DeploymentResult{{Deployment: "d", AtomID: "b", State: "failed", At: day}, {Deployment: "d", AtomID: "a", State: "active", At: day}}))
	b.must(b.st.Report(ctx, nil, []cloud.DeploymentResult{{Deployment: "d", AtomID: "b", State: "active", At: day.Add(-time.Hour)}})) // its clock was put right
	results, err := b.st.Results(ctx, "d")
	if err != nil || len(results) != 2 || results[0].AtomID != "a" || results[1].State != "active" {
		b.Errorf("%+v, %v", results, err)
	}
	b.must(b.st.Seen(ctx, map[string]time.Time{"a": at.Add(-time.Hour), "b": at}))
	b.must(b.st.Seen(ctx, map[string]time.Time{"a": at}))
	seen, err := b.st.LastSeen(ctx)
	if err != nil || len(seen) != 2 || seen["a"].Sub(at).Abs() > time.Second || seen["b"].Sub(at).Abs() > time.Second {
		b.Errorf("%v, %v, want %v", seen, err, at)
	}
}

// What is older goes, in steps; what still waits for its atom is given up
// first.
func (b *bench) purge() {
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
		b.Errorf("it took %d steps: others would have waited", steps)
	}
	left, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{}, cloud.Place{}, 10)
	if err != nil || len(left) != 1 || left[0].ID != "execution-5000" {
		b.Errorf("%v, %v", left, err)
	}
	if r, err := b.st.Request(ctx, "a", "executionrecord-1"); err != nil || r == nil {
		b.Errorf("the request that waits is gone: %v", err)
	}
	if r, err := b.st.Request(ctx, "a", "executionrecord-2"); err != nil || r != nil {
		b.Errorf("the request that was delivered stays: %v", err)
	}
	entries, err := b.st.Audit(ctx, "a", 0, 10)
	if err != nil || len(entries) != 1 || entries[0].Action != "young" {
		b.Errorf("%v, %v", entries, err)
	}
	over, err := b.st.Results(ctx, "over")
	active, err2 := b.st.Results(ctx, "active")
	if err := errors.Join(err, err2); err != nil || len(over) != 0 || len(active) != 1 {
		b.Errorf("%v, %v, %v", over, active, err)
	}
}

func (b *bench) archives() {
	ctx := b.Context()
	large := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	archive, err := wire.Pack([]wire.PackFile{{Name: "a.yaml", Content: large}})
	b.must(err)
	sha := wire.PackageID(archive)
	if _, err := b.st.Archive(ctx, sha); !errors.Is(err, cloud.ErrAltered) {
		b.Errorf("one that is not there: %v", err)
	}
	b.must(b.st.PutArchive(ctx, sha, archive))
	b.must(b.st.PutArchive(ctx, sha, archive))
	if err := b.st.PutArchive(ctx, sha, append(archive, 0)); !errors.Is(err, cloud.ErrAltered) {
		b.Errorf("another content under the name: %v", err)
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
		b.Errorf("a name that leads elsewhere: %v", err)
	}
	b.must(b.st.DropArchive(ctx, sha))
	if _, err := b.st.Archive(ctx, sha); err == nil {
		b.Error("it is there after it was dropped")
	}
	b.must(b.st.DropArchive(ctx, sha))
	b.must(b.st.PutArchive(ctx, sha, archive))
}

// Texts that come from outside may hold anything.
func (b *bench) strange() {
	ctx := context.WithoutCancel(b.Context())
	text := "a\x00b\xff'\"\\ü"
	if _, err := b.st.Request(ctx, "a", text); err != nil {
		b.Error(err)
	}
	if _, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{ID: text, AtomID: text}, cloud.Place{}, 1); err != nil {
		b.Error(err)
	}
	if _, err := b.st.Messages(ctx, text, []int64{1}, 1); err != nil {
		b.Error(err)
	}
	first, _ := b.enqueue(1, day, text)
	if again, _ := b.enqueue(2, day, text); again != first {
		b.Errorf("the same key made %s", again)
	}
	r := record(1, day, cloud.Complete)
	r.Execution, r.RequestID, r.OriginalID, r.Message, r.ProcessName = text, text, text, text, text
	b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{r}, []cloud.DeploymentResult{{Deployment: "d", AtomID: "a", Detail: text}}))
	b.must(b.st.Report(ctx, []*cloud.ExecutionRecord{r}, nil))
	if found, _, err := b.st.Records(ctx, "a", cloud.RecordFilter{}, cloud.Place{}, 10); err != nil || len(found) != 1 || found[0].ID != r.ID {
		b.Errorf("%v, %v", found, err)
	}
	b.must(b.st.Write(ctx, &cloud.Change{Audit: []cloud.AuditEntry{{Account: "a", Who: text, Object: text, Detail: text, At: day}}}))
}
