#!/bin/sh
# Certificates for the broker, the cloud and the nodes, with openssl alone. The authority's key stays in the folder
# `certs` (or $AISLE_CERTS): keep that folder on one machine, with a backup, and copy out only what each end needs.
set -eu
umask 077
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
certs=${AISLE_CERTS:-$here/certs}

usage() {
    cat <<'TEXT'
usage: certs.sh ca                          the authority and an empty revocation list, once
       certs.sh broker NAME [NAME...]       the broker's certificate for the host names that clients use
       certs.sh cloud                       the certificate of the cloud's processes
       certs.sh node TENANT/STORE/NODE      a node's certificate
       certs.sh store TENANT/STORE NAME...  for a broker in the store: its own for those host names, its bridge's to the cloud
       certs.sh revoke TENANT/STORE[/NODE]  refuse all certificates of a node or bridge from the broker's next start on
TEXT
    exit 2
}
fail() { printf 'certs.sh: %s\n' "$*" >&2; exit 1; }

settings() { # CN [subjectAltName]
    cat <<TEXT
[req]
prompt = no
distinguished_name = dn
string_mask = utf8only
[dn]
CN = $1
[ca]
default_ca = authority
[authority]
dir = $certs
database = $certs/index.txt
new_certs_dir = $certs/issued
certificate = $certs/ca.crt
private_key = $certs/ca.key
rand_serial = yes
unique_subject = no
default_md = sha256
default_days = 730
default_crl_days = 3650
policy = any
[any]
commonName = supplied
[authority_cert]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[client_cert]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[server_cert]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${2:-DNS:unused.invalid}
TEXT
}

authority() { # arguments of openssl ca
    openssl ca -batch -notext -config "$certs/openssl.cnf" "$@" 2>"$certs/openssl.log" || fail "$(tail -n 1 "$certs/openssl.log")"
}

issue() { # FILE CN EXTENSIONS [subjectAltName]
    [ -f "$certs/ca.key" ] || fail "there is no authority in $certs: certs.sh ca"
    [ "${#2}" -le 64 ] || fail "$2 has ${#2} characters, a certificate's name at most 64: choose shorter names"
    settings "$2" "${4:-}" >"$certs/openssl.cnf"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config "$certs/openssl.cnf" \
        -keyout "$certs/$1.key" -out "$certs/$1.csr" 2>/dev/null
    authority -extensions "$3" -in "$certs/$1.csr" -out "$certs/$1.crt"
    rm "$certs/$1.csr"
    chmod 644 "$certs/$1.crt"
    printf '%s.key\n%s.crt\n' "$certs/$1" "$certs/$1"
}

revocation_list() {
    authority -gencrl -out "$certs/ca.crl"
    chmod 644 "$certs/ca.crl"
}

node_name() {
    printf '%s' "$1" | grep -Eqx '[a-z0-9][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9-]{0,62}){2}' ||
        fail "found '$1', expected TENANT/STORE/NODE, each of a-z, 0-9 and -"
}

store_name() {
    printf '%s' "$1" | grep -Eqx '[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}' ||
        fail "found '$1', expected TENANT/STORE, each of a-z, 0-9 and -"
}

[ $# -ge 1 ] || usage
command=$1
shift
case $command in
ca)
    [ $# -eq 0 ] || usage
    [ ! -e "$certs/ca.key" ] || fail "$certs holds an authority already"
    mkdir -p "$certs/issued"
    : >"$certs/index.txt"
    settings "Aisle broker authority" >"$certs/openssl.cnf"
    openssl req -x509 -days 3650 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config "$certs/openssl.cnf" \
        -extensions authority_cert -keyout "$certs/ca.key" -out "$certs/ca.crt" 2>/dev/null
    chmod 644 "$certs/ca.crt"
    revocation_list
    ;;
broker)
    [ $# -ge 1 ] || usage
    names=$(printf 'DNS:%s,' "$@")
    issue broker "$1" server_cert "${names%,}"
    ;;
cloud)
    [ $# -eq 0 ] || usage
    issue cloud cloud client_cert
    ;;
node)
    [ $# -eq 1 ] || usage
    node_name "$1"
    issue "$(printf '%s' "$1" | tr / .)" "$1" client_cert
    ;;
store)
    [ $# -ge 2 ] || usage
    store_name "$1"
    store=$1
    shift
    file=$(printf '%s' "$store" | tr / .)
    names=$(printf 'DNS:%s,' "$@")
    issue "$file" "$store" client_cert
    issue "$file.broker" "$1" server_cert "${names%,}"
    ;;
revoke)
    [ $# -eq 1 ] || usage
    case $1 in */*/*) node_name "$1" ;; *) store_name "$1" ;; esac
    # openssl 3 writes the slashes of a name as \/
    serials=$(awk -F '\t' -v name="/CN=$1" '{ gsub(/\\\//, "/", $6) } $1 == "V" && $6 == name { print $4 }' "$certs/index.txt")
    [ -n "$serials" ] || fail "$1 has no certificate"
    settings "$1" >"$certs/openssl.cnf"
    for serial in $serials; do
        authority -revoke "$certs/issued/$serial.pem"
    done
    revocation_list
    ;;
*) usage ;;
esac
