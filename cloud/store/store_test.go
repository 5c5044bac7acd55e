package store_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store"
	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func record(n int, at time.Time, status string) *cloud.ExecutionRecord {
	return &cloud.ExecutionRecord{
		ID: fmt.Sprintf("execution-%d", n), Account: "a", AtomID: "atom", EnvironmentID: fmt.Sprintf("e%d", n%2), Execution: fmt.Sprint("x", n),
		ProcessID: "p", Status: status, Time: at,
	}
}

func TestRecords(t *testing.T) {
	st, _ := cloudtest.Open(t, t.TempDir())
	ctx := t.Context()
	var all []*cloud.ExecutionRecord
	for n := range 25 {
		status := cloud.Complete
		if n%5 == 0 {
			status = cloud.Failed
		}
		all = append(all, record(n, day.Add(time.Duration(n/2)*time.Minute), status)) // two of each time
	}
	if err := st.Report(ctx, all, nil); err != nil {
		t.Fatal(err)
	}
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
	} {
		seen := map[string]bool{}
		var last time.Time
		for after := (cloud.Place{}); ; {
			page, next, err := st.Records(ctx, "a", c.f, after, 4)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				if seen[r.ID] || !last.IsZero() && r.Time.After(last) {
					t.Errorf("%s: %s comes twice or out of order", c.name, r.ID)
				}
				seen[r.ID], last = true, r.Time
			}
			if after = next; after == (cloud.Place{}) {
				break
			}
		}
		if len(seen) != c.want {
			t.Errorf("%s: %d records, want %d", c.name, len(seen), c.want)
		}
	}
	if page, _, err := st.Records(ctx, "b", cloud.RecordFilter{}, cloud.Place{}, 4); err != nil || len(page) != 0 {
		t.Errorf("of another account: %v, %v", page, err)
	}
}

func enqueue(t *testing.T, st *store.Store, n int, at time.Time, key string) string {
	t.Helper()
	id := fmt.Sprint("executionrecord-", n)
	got, err := st.Enqueue(t.Context(), &cloud.ExecutionRequest{ID: id, Account: "a", AtomID: "atom", Created: at, IdempotencyKey: key},
		&cloud.Message{Account: "a", AtomID: "atom", Request: id, Created: at, Message: wire.Message{ID: int64(n), Kind: wire.KindExecute, Execute: &wire.Execute{Request: id}}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// What is older goes, in steps; what still waits for its atom is given up
// first.
func TestPurge(t *testing.T) {
	st, _ := cloudtest.Open(t, t.TempDir())
	ctx := t.Context()
	var old []*cloud.ExecutionRecord
	for n := range 1200 {
		old = append(old, record(n, day, cloud.Complete))
	}
	old = append(old, record(5000, day.Add(48*time.Hour), cloud.Complete))
	results := []cloud.DeploymentResult{{Deployment: "over", AtomID: "atom", At: day}, {Deployment: "active", AtomID: "atom", At: day}}
	if err := st.Report(ctx, old, results); err != nil {
		t.Fatal(err)
	}
	enqueue(t, st, 1, day, "k")
	enqueue(t, st, 2, day, "")
	if err := st.Acknowledge(ctx, "atom", []int64{2}, day); err != nil {
		t.Fatal(err)
	}
	err := st.Write(ctx, &cloud.Change{Audit: []cloud.AuditEntry{{Account: "a", At: day, Action: "old"}, {Account: "a", At: day.Add(48 * time.Hour), Action: "young"}}})
	if err != nil {
		t.Fatal(err)
	}
	before := day.Add(24 * time.Hour)
	steps := 0
	for more := true; more; steps++ {
		if more, err = st.Purge(ctx, before, []string{"over"}); err != nil {
			t.Fatal(err)
		}
	}
	if steps < 3 {
		t.Errorf("it took %d steps: others would have waited", steps)
	}
	left, _, err := st.Records(ctx, "a", cloud.RecordFilter{}, cloud.Place{}, 10)
	if err != nil || len(left) != 1 || left[0].ID != "execution-5000" {
		t.Errorf("%v, %v", left, err)
	}
	if r, err := st.Request(ctx, "a", "executionrecord-1"); err != nil || r == nil {
		t.Errorf("the request that waits is gone: %v", err)
	}
	if r, err := st.Request(ctx, "a", "executionrecord-2"); err != nil || r != nil {
		t.Errorf("the request that was delivered is there: %v, %v", r, err)
	}
	stale, err := st.Stale(ctx, before, 10)
	if err != nil || len(stale) != 1 || stale[0].ID != 1 {
		t.Errorf("%v, %v", stale, err)
	}
	entries, err := st.Audit(ctx, "a", 0, 10)
	if err != nil || len(entries) != 1 || entries[0].Action != "young" {
		t.Errorf("%v, %v", entries, err)
	}
	over, err := st.Results(ctx, "over")
	active, err2 := st.Results(ctx, "active")
	if err := errors.Join(err, err2); err != nil || len(over) != 0 || len(active) != 1 {
		t.Errorf("%v, %v, %v", over, active, err)
	}
}

func TestOutbox(t *testing.T) {
	dir := t.TempDir()
	st, stop := cloudtest.Open(t, dir)
	ctx := t.Context()
	first := enqueue(t, st, 7, day, "k")
	if again := enqueue(t, st, 8, day, "k"); again != first {
		t.Errorf("the same key made %s", again)
	}
	enqueue(t, st, 9, day, "")
	if err := st.Acknowledge(ctx, "another atom", []int64{7}, day); err != nil {
		t.Fatal(err)
	}
	if one, err := st.Messages(ctx, "atom", []int64{7, 8, 9}, 1); err != nil || len(one) != 1 {
		t.Errorf("within one byte: %d, %v", len(one), err)
	}
	if err := st.Acknowledge(ctx, "atom", []int64{9}, day); err != nil {
		t.Fatal(err)
	}
	stop()
	st, _ = cloudtest.Open(t, dir)
	var waiting []int64
	highest, err := st.Waiting(ctx, func(_ string, id int64) error { waiting = append(waiting, id); return nil })
	if err != nil || highest != 9 || len(waiting) != 1 || waiting[0] != 7 {
		t.Errorf("%v, highest %d, %v", waiting, highest, err)
	}
}

// A backup is made while the store is used, and is a folder that one can start
// on.
func TestBackup(t *testing.T) {
	st, _ := cloudtest.Open(t, t.TempDir())
	ctx := t.Context()
	archive, err := wire.Pack([]wire.PackFile{{Name: "a.yaml", Content: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	sha := wire.PackageID(archive)
	if err := st.PutArchive(ctx, sha, archive); err != nil {
		t.Fatal(err)
	}
	if err := st.PutArchive(ctx, sha, append(archive, 0)); !errors.Is(err, cloud.ErrAltered) {
		t.Errorf("another content under the name: %v", err)
	}
	enqueue(t, st, 1, day, "")
	folder := filepath.Join(t.TempDir(), "copy")
	if err := st.Backup(ctx, folder); err != nil {
		t.Fatal(err)
	}
	if err := st.Backup(ctx, folder); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	copied, _ := cloudtest.Open(t, folder)
	if r, err := copied.Request(ctx, "a", "executionrecord-1"); err != nil || r == nil {
		t.Errorf("%v, %v", r, err)
	}
	f, err := copied.Archive(ctx, sha)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); err != nil || string(text) != string(archive) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err := copied.Archive(ctx, "../cloud.db"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	_, stop := cloudtest.Open(t, dir)
	var locked *sqlitedb.LockedError
	if _, err := store.Open(dir, store.Options{}); !errors.As(err, &locked) {
		t.Errorf("a second one: %v", err)
	}
	stop()
	db, err := sqlitedb.Open(filepath.Join(dir, "cloud.db"), sqlitedb.Options{Migrations: []sqlitedb.Migration{
		{Name: "what is there"}, {Name: "and more of it"}, {Name: "of a newer program", SQL: "CREATE TABLE more(a)"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	var newer *sqlitedb.NewerSchemaError
	if _, err := store.Open(dir, store.Options{}); !errors.As(err, &newer) {
		t.Errorf("of a newer program: %v", err)
	}
}
