package store

import (
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/internal/sqlitedb"
)

// Queries of a million records use an index in the order shown: nothing is
// sorted except single records.
func TestRecordsAreFoundByIndex(t *testing.T) {
	st, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	at := cloud.Cursor{Time: 1, Seq: 1}
	for name, c := range map[string]struct {
		f     cloud.RecordFilter
		index string
	}{
		"all":                 {cloud.RecordFilter{}, "record_account"},
		"a time":              {cloud.RecordFilter{From: time.Now(), To: time.Now()}, "record_account"},
		"a status":            {cloud.RecordFilter{Status: cloud.Failed}, "record_status"},
		"what is complete":    {cloud.RecordFilter{Status: cloud.Complete}, "record_account"},
		"an atom":             {cloud.RecordFilter{AtomID: "a"}, "record_atom"},
		"a process":           {cloud.RecordFilter{ProcessID: "p"}, "record_process"},
		"a process' failures": {cloud.RecordFilter{ProcessID: "p", Status: cloud.Failed}, "record_"},
		"a request":           {cloud.RecordFilter{RequestID: "r"}, "record_request"},
		"a record":            {cloud.RecordFilter{ID: "x"}, "sqlite_autoindex_record_1"},
		"an environment":      {cloud.RecordFilter{Environments: []string{"e"}, Status: cloud.Failed}, "record_status"},
	} {
		for _, after := range []cloud.Cursor{{}, at} {
			query, args := recordQuery("default", c.f, after)
			var plan []string
			err := st.db.Read(t.Context(), func(tx *sqlitedb.Tx) error {
				return tx.Rows("EXPLAIN QUERY PLAN "+query+" LIMIT 50", args, func(row sqlitedb.Row) (bool, error) {
					plan = append(plan, row.Text(3))
					return true, nil
				})
			})
			text := strings.Join(plan, "; ")
			if err != nil || !strings.Contains(text, "USING INDEX "+c.index) || strings.Contains(text, "TEMP B-TREE") && c.f.ID+c.f.RequestID == "" {
				t.Errorf("%s: %s, %v", name, text, err)
			}
		}
	}
}
