package loader

import (
	"crypto/sha256"
	"maps"
	"path"
	"slices"

	"valence/processes"
)

// describe sets the operations of a connection: those of its connector, or those
// that files of the project describe.
func (l *loader) describe(c *component, conn *processes.Connection, settings any) {
	conn.Operations = conn.Connector.Operations
	if conn.Connector.Describe == nil || settings == nil {
		return
	}
	read := map[string][]byte{}
	operations, problems := conn.Connector.Describe(settings, func(name string) ([]byte, bool) {
		full, ok := inside(c.src.Name, name)
		content, known := l.files[full]
		if ok && known {
			read[name] = content
		}
		return content, ok && known
	})
	for _, p := range problems {
		if p.File == "" {
			p.Pos = conn.Pos
		} else {
			p.File = path.Join(path.Dir(c.src.Name), p.File)
		}
	}
	l.problems = append(l.problems, problems...)
	conn.Operations = operations
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(read)) {
		sum.Write(appendText(appendText(nil, 'f', name), 'c', string(read[name])))
	}
	l.uses["connection "+conn.Name] = string(sum.Sum(nil))
}

// systemCodes returns the codes of failures that the systems of described
// operations choose.
func (l *loader) systemCodes() (codes []string) {
	for _, conn := range l.project.Connections {
		for i := range conn.Operations {
			codes = append(codes, conn.Operations[i].Codes...)
		}
	}
	return codes
}

// operationNames returns the names of the operations of a connection.
func operationNames(conn *processes.Connection) (names []string) {
	for i := range conn.Operations {
		names = append(names, conn.Operations[i].Name)
	}
	return names
}

// useDescription records that a process depends on the description of a
// connection.
func (b *processBuilder) useDescription(conn *processes.Connection) {
	if digest, ok := b.l.uses["connection "+conn.Name]; ok && !slices.Contains(b.uses, digest) {
		b.uses = append(b.uses, digest)
	}
}
