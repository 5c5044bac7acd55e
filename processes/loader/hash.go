package loader

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sort"

	"gopkg.in/yaml.v3"

	"valence/internal/spec"
)

// digest is a SHA-256 hash.
type digest [sha256.Size]byte

// digestOf returns the digest of the content of a YAML value, independent of its style.
func digestOf(n *yaml.Node) digest { return sha256.Sum256(appendContent(make([]byte, 0, 1<<10), n)) }

// fingerprint returns the digest of a YAML value in hex, shortened to 128 bits.
func fingerprint(n *yaml.Node) string {
	d := digestOf(n)
	return hex.EncodeToString(d[:16])
}

// appendContent appends a canonical encoding of a value.
func appendContent(dst []byte, n *yaml.Node) []byte {
	switch shape := spec.ShapeOf(n); shape {
	case spec.MapShape:
		dst = append(dst, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			dst = appendContent(appendText(dst, 'k', n.Content[i].Value), n.Content[i+1])
		}
		return append(dst, '}')
	case spec.ListShape:
		dst = append(dst, '[')
		for _, e := range n.Content {
			dst = appendContent(dst, e)
		}
		return append(dst, ']')
	case spec.NullShape:
		return append(dst, '0')
	default:
		return appendText(dst, byte(shape), n.Value)
	}
}

func appendText(dst []byte, kind byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(append(dst, kind), uint64(len(s))), s...)
}

// hashes sets the hash of each process: of its own content, the processes that
// it waits for, its profiles, and the functions and tables that it uses.
func (l *loader) hashes() {
	for _, b := range l.processes {
		l.hash(b)
	}
}

func (l *loader) hash(b *processBuilder) string {
	if b.hashed {
		return b.proc.Hash // "" within a cycle, which is an error
	}
	b.hashed = true
	var called []string
	for _, c := range b.proc.Calls {
		if !c.Handoff && l.processBuilder(c.Process) != nil {
			called = append(called, c.Process)
		}
	}
	sort.Strings(called)
	content := append([]byte(nil), b.content[:]...)
	for i, name := range called {
		if i == 0 || called[i-1] != name {
			content = appendText(appendText(content, 'p', name), 'c', l.hash(l.processBuilder(name)))
		}
	}
	profiles := append([]string(nil), b.profiles...)
	sort.Strings(profiles)
	for i, name := range profiles {
		if p := l.project.Profiles[name]; p != nil && (i == 0 || profiles[i-1] != name) {
			content = appendText(appendText(content, 's', p.Name), 'h', p.Hash)
		}
	}
	if len(b.uses) > 0 {
		content = appendText(content, 'u', string(b.used()))
	}
	sum := sha256.Sum256(content)
	b.proc.Hash = hex.EncodeToString(sum[:16])
	return b.proc.Hash
}

func (l *loader) processBuilder(name string) *processBuilder { return l.byName[name] }
