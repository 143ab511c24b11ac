# A root file system without a shell that cannot be written, and a user without rights in it.
# container.sh ROOT CONFIGURATION STATE EXECUTABLE ARGUMENT…
set -e
root=$1 configuration=$2 state=$3 program=$4
shift 4
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p dev proc etc/claimsmith usr/local/bin var/lib/claimsmith
cp --dereference --parents $(ldd "$program" | grep -o "/[^ ]*") /etc/ssl/certs/ca-certificates.crt .
touch dev/null usr/local/bin/claimsmith
mount --bind /dev/null dev/null
mount --rbind /proc proc
mount --bind "$program" usr/local/bin/claimsmith
mount --bind "$configuration" etc/claimsmith
mount -o remount,bind,ro "$root/etc/claimsmith"
mount --bind "$state" var/lib/claimsmith
mount -o remount,bind,ro "$root"
exec unshare --map-user=65532 --map-group=65532 --root="$root" --wd=/ /usr/local/bin/claimsmith "$@"
