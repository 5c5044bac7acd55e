package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// add adds counts to the tally file.
func add(file string, c counts) error {
	sum, err := load(file)
	if err != nil {
		return err
	}
	sum.Passed += c.Passed
	sum.Failed = append(sum.Failed, c.Failed...)
	sum.Skipped += c.Skipped
	b, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// load reads the tally. A missing file is an empty tally.
func load(file string) (counts, error) {
	var sum counts
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return sum, nil
	}
	if err != nil {
		return sum, err
	}
	if err := json.Unmarshal(b, &sum); err != nil {
		return sum, fmt.Errorf("%s: %w", file, err)
	}
	return sum, nil
}

// total prints the tally, names the failures, and removes the file. An empty
// tally is a failure.
func total(file string, w io.Writer) (bool, error) {
	sum, err := load(file)
	if err != nil {
		return false, err
	}
	fmt.Fprintln(w)
	for _, name := range sum.Failed {
		fmt.Fprintln(w, "failed:", name)
	}
	fmt.Fprintln(w, sum)
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return len(sum.Failed) == 0 && sum.Passed > 0, nil
}
