package folder

import (
	"iter"
	"path"
	"strings"
	"sync"

	"valence/internal/fault"
	"valence/internal/spec"
)

// outside returns why a path leads out of the folder of the connection or is no
// path, or "". Line breaks could become commands of a protocol.
func outside(p string) string {
	if strings.HasPrefix(p, "/") || strings.HasPrefix(p, `\`) {
		return "must be relative to the folder of the connection"
	}
	if strings.ContainsAny(p, "\x00\r\n") {
		return "must not contain line breaks or null characters"
	}
	for segment := range segments(p) {
		if segment == ".." {
			return "must not contain `..`"
		}
	}
	return ""
}

func segments(p string) iter.Seq[string] {
	return strings.FieldsFuncSeq(p, func(r rune) bool { return r == '/' || r == '\\' })
}

// checkPath returns why a path is refused by every operation, or "".
func checkPath(p string) string {
	if why := outside(p); why != "" {
		return why
	}
	for segment := range segments(p) {
		if strings.EqualFold(segment, WorkFolder) {
			return "leads into the work folder of a subscription"
		}
	}
	return ""
}

// checkLiteral returns the problems of a path in a project. Its expressions are
// single segments.
func checkLiteral(key, p string) []string {
	if strings.HasPrefix(p, "${") {
		return nil
	}
	if why := checkPath(p); why != "" {
		return []string{key + " " + why}
	}
	return nil
}

// Common is the part of a connection that the operations and subscriptions of
// this package use.
type Common struct {
	MaxSize int64 // of a file that is read

	mu     sync.RWMutex
	byPath map[string]bool // work folders of subscriptions
}

// common is for System, which only connections that embed Common implement.
func (c *Common) common() *Common { return c }

var _ interface{ common() *Common } = (*Common)(nil)

// AddWork adds the work folder of a subscription.
func (c *Common) AddWork(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPath == nil {
		c.byPath = map[string]bool{}
	}
	c.byPath[normal(dir)] = true
}

// check fails if an operation must not use a path.
func (c *Common) check(verb, p string) error {
	why := checkPath(p)
	if why == "" && c.has(normal(p)) {
		why = "leads into the work folder of a subscription"
	}
	if why == "" {
		return nil
	}
	return &fault.Failure{Code: CodeBadCall, Source: fault.FromConnector, Message: "cannot " + verb + " \"" + spec.Clip(p) + "\": the path " + why}
}

// has reports whether a path is a work folder or below one.
func (c *Common) has(p string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for {
		if c.byPath[p] {
			return true
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return false
		}
		p = p[:i]
	}
}

// normal returns a path in the form that identifies it. File systems may ignore
// case.
func normal(p string) string { return strings.ToLower(path.Clean(strings.ReplaceAll(p, `\`, "/"))) }
