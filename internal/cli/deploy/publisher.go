package deploy

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"valence/internal/atomicfile"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/wire"
)

// signedStatement is a publisher's statement about the package.
type signedStatement struct{ text, signature []byte }

// statement returns the publisher's signed statement, the same each time; nil
// without --sign.
func (r *rollout) statement() (*signedStatement, error) {
	if r.c.Sign == "" || r.signed != nil {
		return r.signed, nil
	}
	key, err := readPublisherKey(r.c.Sign)
	if err != nil {
		return nil, err
	}
	st := wire.Statement{Project: r.project, Environment: r.environment.Name, Serial: r.c.Serial, Package: r.pack.SHA256, Fields: r.c.Field, Hosts: r.c.Host}
	if st.Serial == 0 {
		st.Serial = time.Now().Unix()
	}
	text, signature, err := st.Sign(key)
	if err != nil {
		return nil, err
	}
	r.signed = &signedStatement{text, signature}
	return r.signed, nil
}

// sign adds the publisher's signed statement to the body of a deployment.
func (r *rollout) sign(body map[string]any) error {
	st, err := r.statement()
	if err == nil && st != nil {
		body["statement"], body["signature"] = base64.StdEncoding.EncodeToString(st.text), base64.StdEncoding.EncodeToString(st.signature)
	}
	return err
}

// createPublisherKey writes a new key pair to file and file.pub.
func createPublisherKey(s *terminal.Streams, file string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err == nil {
		return clierror.Invalid("use another name", "%s already exists", file)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := atomicfile.Write(file, text, 0o600); err != nil {
		return clierror.Failed("name a file in a writable folder", "%v", err)
	}
	if err := atomicfile.Write(file+".pub", []byte(wire.FormatKey(public)+"\n"), 0o644); err != nil {
		return clierror.Failed("name a file in a writable folder", "%v", err)
	}
	fmt.Fprintf(s.Out, "%s\nThe private key is in %s: do not store it on the control plane. The public key is in %s.pub.\n", wire.FormatKey(public), file, file)
	return nil
}

// readPublisherKey reads a private key from a PEM file.
func readPublisherKey(file string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, clierror.Failed("--sign FILE with a publisher's private key", "%v", err)
	}
	if block, _ := pem.Decode(text); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if private, ok := key.(ed25519.PrivateKey); ok {
				return private, nil
			}
		}
	}
	return nil, clierror.Failed("create one with valence deploy --make-key FILE", "%s does not contain a private Ed25519 key (PEM, PKCS #8)", file)
}
