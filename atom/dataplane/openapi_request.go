package dataplane

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"valence/internal/expression"
	"valence/processes"
)

// info describes the document. The title is the name of the project if there
// is only one, and the version changes with the processes of the listeners.
func info(endpoints []*endpoint) doc {
	var names []string
	digest := sha256.New()
	for _, e := range endpoints {
		name := e.deployed.Project()
		if project := e.deployed.Definition(); project != nil && project.Defaults.Name != "" {
			name = project.Defaults.Name
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		digest.Write([]byte(e.process + "\n" + e.deployed.Process.Hash + "\n"))
	}
	title := "Valence"
	if len(names) == 1 && names[0] != "" {
		title = names[0]
	}
	return doc{"title": title, "version": hex.EncodeToString(digest.Sum(nil)[:6]), "description": "The HTTP services of this atom."}
}

// readParameters describes the query parameters and headers that the process of
// a listener, and those that it waits for, read by name.
func readParameters(e *endpoint) []any {
	reads := slices.Clone(e.deployed.Process.Reads)
	for _, p := range calledBy(e) {
		reads = append(reads, p.Reads...)
	}
	required := requiredReads(&e.deployed.Process.Delivery)
	var out []any
	seen := map[processes.RequestRead]bool{}
	for _, r := range reads {
		at := doc{"name": r.Name, "in": "query", "schema": doc{"type": "string"}}
		if r.In == "headers" {
			r.Name = http.CanonicalHeaderKey(r.Name)
			if describedElsewhere(e, r.Name) {
				continue
			}
			at["name"], at["in"] = r.Name, "header"
		} else if r.Name == e.hiddenQuery {
			continue
		}
		if seen[r] {
			continue
		}
		seen[r] = true
		if slices.Contains(required, r) {
			at["required"] = true
		}
		out = append(out, at)
	}
	return out
}

// describedElsewhere reports whether a header is no parameter of its own.
func describedElsewhere(e *endpoint, name string) bool {
	switch name {
	case "Accept", "Content-Type", "Authorization", "Prefer", "Callback-Url": // OpenAPI ignores the first three
		return true
	}
	return slices.Contains(e.hiddenHeaders, name)
}

// plainRead is an expression that only reads a header or a query parameter.
var plainRead = regexp.MustCompile(`^\$\{\s*request\.(headers|query)(?:\.(\w+)|\["([^"]+)"\]|\['([^']+)'\])\s*\}$`)

// requiredReads returns the reads without which a request has no key.
func requiredReads(d *processes.Delivery) (out []processes.RequestRead) {
	add := func(key *expression.Expr) {
		if key == nil {
			return
		}
		m := plainRead.FindStringSubmatch(strings.TrimSpace(key.Source()))
		if m == nil {
			return
		}
		r := processes.RequestRead{In: m[1], Name: m[2] + m[3] + m[4]}
		if r.In == "headers" {
			r.Name = http.CanonicalHeaderKey(r.Name)
		}
		out = append(out, r)
	}
	if d.Dedupe != nil && !d.Dedupe.AcceptMissing {
		add(d.Dedupe.Key)
	}
	if d.Sequence != nil {
		add(d.Sequence.Key)
	}
	return out
}
