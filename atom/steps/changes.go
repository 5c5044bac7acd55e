package steps

import (
	"crypto/sha256"
	"fmt"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

type changes struct{ Settings changesSettings }

type changesSettings struct {
	Records *expression.Expr
	Key     *expression.Expr
	Of      *expression.Expr
	Name    string
}

// maxRecords bounds one comparison.
const maxRecords = 1_000_000

var _ = define[changes]("changes", kind{
	doc: "Compares a set of records by key with the set of the last successful run. The document becomes `{ adds: […], updates: […], deletes: [keys] " +
		"}`. A record counts as updated if its JSON, or the value of `of`, has changed. Only a hash of each record is stored, not its content. The " +
		"new set is committed together with the end of the execution, if it succeeds. If another execution has committed a set in the meantime, this " +
		"one fails with `state_conflict`.",
	sample:        "- call: crm.get\n  with: { path: /customers }\n- changes: { records: \"${doc}\", key: \"${item.id}\" }\n- for_each: ${doc.adds}\n  steps: [{ call: erp.post, with: { path: /customers } }]\n",
	makesDocument: true, items: true,
}, []spec.Field{
	spec.Object("changes", func(s *changes) *changesSettings { return &s.Settings }, "The records to compare.",
		spec.Expr("records", func(s *changesSettings) **expression.Expr { return &s.Records }, "The complete list of records. Defaults to the document.").List(),
		spec.Expr("key", func(s *changesSettings) **expression.Expr { return &s.Key }, "Key that identifies a record, read from `item`.").Required(),
		spec.Expr("of", func(s *changesSettings) **expression.Expr { return &s.Of }, "The part of `item` to compare, such as a version. Defaults to the whole record."),
		spec.Name("set", func(s *changesSettings) *string { return &s.Name }, "Name of the stored set, if a process compares several.").Or("records"),
	).Required(),
}, func(*changes, *processes.CheckContext) {})

func (s *changes) Run(f *Frame) error {
	list, err := s.list(f)
	if err != nil {
		return err
	}
	digests, err := s.digests(f, list)
	if err != nil {
		return err
	}
	kinds, deleted, err := f.rt.Compare(f, s.Settings.Name, digests)
	if err != nil {
		return err
	}
	adds, updates, deletes := []any{}, []any{}, make([]any, len(deleted))
	for i, kind := range kinds {
		switch kind {
		case Added:
			adds = append(adds, list[i])
		case Updated:
			updates = append(updates, list[i])
		}
	}
	for i, key := range deleted {
		deletes[i] = key
	}
	out := &document.Object{}
	out.Set("adds", adds)
	out.Set("updates", updates)
	out.Set("deletes", deletes)
	f.SetResult(document.FromValue(out))
	return nil
}

func (s *changes) list(f *Frame) ([]any, error) {
	v := f.value
	if s.Settings.Records != nil {
		var err error
		if v, err = s.Settings.Records.Eval(&f.env); err != nil {
			return nil, err
		}
	}
	list, ok := document.Decode(v).([]any)
	if !ok {
		return nil, fault.Failf(fault.CodeExpression, "changes needs the list of all records, but this is %s; an empty list means that all are gone", document.TypeName(v))
	}
	if len(list) > maxRecords {
		return nil, fault.Failf(fault.CodeLimit, "changes compares at most %d records", maxRecords)
	}
	return list, nil
}

// digests returns the digests of the records. Every record needs a key of its own.
func (s *changes) digests(f *Frame, list []any) ([]Digest, error) {
	digests := make([]Digest, len(list))
	seen := make(map[string]int, len(list))
	outer := f.locals
	defer func() { f.locals = outer }()
	for i, record := range list {
		f.locals = &binding{name: "item", value: record, next: outer}
		v, err := s.Settings.Key.Eval(&f.env)
		if err != nil {
			return nil, err
		}
		key := ""
		if v != nil {
			if key, err = expression.Text(v); err != nil {
				return nil, err
			}
		}
		first, twice := seen[key]
		switch {
		case key == "":
			return nil, &fault.Failure{Code: fault.CodeInvalid, Pos: s.Settings.Key.Pos(), Message: fmt.Sprintf("record %d has no key", i)}
		case twice:
			return nil, &fault.Failure{Code: fault.CodeInvalid, Pos: s.Settings.Key.Pos(), Message: fmt.Sprintf("records %d and %d have the same key %s", first, i, spec.Clip(key))}
		}
		seen[key] = i
		content := record
		if s.Settings.Of != nil {
			if content, err = s.Settings.Of.Eval(&f.env); err != nil {
				return nil, err
			}
		}
		sum := sha256.Sum256(document.AppendJSON(nil, content))
		digests[i] = Digest{Key: key, Hash: [16]byte(sum[:16])}
	}
	return digests, nil
}
