package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/test/servers"
)

// carried is the size of the file that an atom carries.
const carried = 1 << 30

const carryProject = `process: carry
retention: { documents: 0d }
listen: { path: "/carry/{name}", method: POST, input: none, auth: none }
steps:
  - call: files.read
    with: { path: "${request.params.name}" }
  - call: store.put
    with: { bucket: BUCKET, key: "${request.params.name}" }
---
connection: files
connector: sftp
host: HOST
port: PORT
user: USER
key: "KEY"
host_key: "PUBLIC"
root: ROOT
max_size: 2GiB
timeout: 10m
---
connection: store
connector: s3
url: STORE
access_key: key
secret_key: ${secret.S3_SECRET}
path_style: true
timeout: 10m
`

// carry measures the memory of an atom while a large file goes from an SFTP
// server to an object store.
func (b *bench) carry(ctx context.Context) (_ []Row, err error) {
	sshd, err := servers.NewSSHD()
	if err != nil {
		return nil, err
	}
	defer func() { err = joined(err, sshd.Close) }()
	const name = "large.bin"
	sum, err := writeRandom(filepath.Join(sshd.Files, name), carried)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(b.folder, "carry-")
	if err != nil {
		return nil, err
	}
	row := Row{Workload: "A file of 1 GiB goes from SFTP to S3, growth of the resident memory", Unit: "MiB", Must: 100, Least: true}
	var sizes, totals, times []float64
	for range b.Rounds {
		grown, most, took, err := b.carryOnce(ctx, sshd, folder, name, sum)
		if err != nil {
			return nil, err
		}
		sizes, totals, times, row.Rounds = append(sizes, grown), append(totals, most), append(times, took.Seconds()), append(row.Rounds, [2]float64{0, grown})
	}
	row.Atom = median(sizes)
	row.Notes = []string{fmt.Sprintf("at its peak the process had %s MiB, of which about 40 MiB are pages of the program file; the file took %s s, and its content is compared", figure(median(totals)), figure(median(times)))}
	return []Row{row}, nil
}

// carryOnce carries the file with a new atom and a new store. It returns by how much
// the resident memory grew and the most there was, in MiB, and the time.
func (b *bench) carryOnce(ctx context.Context, sshd *servers.SSHD, folder, name string, sum [sha256.Size]byte) (grown, most float64, took time.Duration, err error) {
	store, err := servers.NewS3()
	if err != nil {
		return 0, 0, 0, err
	}
	defer store.Close()
	host, port, _ := strings.Cut(sshd.Address, ":")
	project := strings.NewReplacer("BUCKET", servers.S3Bucket, "HOST", host, "PORT", port, "USER", sshd.User, "KEY", sshd.Key,
		"PUBLIC", sshd.HostKey(), "ROOT", sshd.Files, "STORE", store.URL).Replace(carryProject)
	if err := os.WriteFile(filepath.Join(folder, "project.yaml"), []byte(project), 0o600); err != nil {
		return 0, 0, 0, err
	}
	p, err := b.startAtom(ctx, folder, "", "", "S3_SECRET=secret")
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, p.tail())
		}
		err = errors.Join(err, p.discard())
	}()
	if err := p.ready(ctx, "/readyz", http.StatusOK, time.Minute); err != nil {
		return 0, 0, 0, err
	}
	before, _, err := p.memory()
	if err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if _, err := post(ctx, http.DefaultClient, p.url+"/carry/"+name, nil); err != nil {
		return 0, 0, 0, err
	}
	for n := 0; n == 0; n, err = completed(ctx, p, "") {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-p.exited:
			return 0, 0, 0, errors.New("the atom has ended")
		case <-ctx.Done():
			return 0, 0, 0, ctx.Err()
		}
	}
	took = time.Since(began)
	if err != nil {
		return 0, 0, 0, err
	}
	if _, most, err = p.memory(); err != nil {
		return 0, 0, 0, err
	}
	object, err := store.Get(name)
	if err != nil {
		return 0, 0, 0, err
	}
	defer object.Close()
	got := sha256.New()
	if _, err := io.Copy(got, object); err != nil {
		return 0, 0, 0, err
	}
	if [sha256.Size]byte(got.Sum(nil)) != sum {
		return 0, 0, 0, errors.New("the object differs from the file")
	}
	return most - before, most, took, nil
}

// writeRandom writes a file of n random bytes and returns its hash.
func writeRandom(path string, n int64) (sum [sha256.Size]byte, err error) {
	f, err := os.Create(path)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{1}), n)
	if err = errors.Join(err, f.Close()); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
